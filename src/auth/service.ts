import type { AdministrationCall, AuthClient, Identity } from '../contracts/auth.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { acrossOrganisations } from '../storage/tenancy.ts'
import { administer } from './administration/administer.ts'
import { apiKeyIdOf, verifyKey } from './verify-key.ts'

export interface AuthServiceParts {
  readonly database: Database
  /** 256 bits that never enter the database. */
  readonly pepper: Buffer
  readonly clock: Clock
  readonly hashPassword: (password: string) => Promise<string>
}

/** Who calls, and who may do what. It remembers nothing between calls; whoever caches its answers watches revocations. */
export class AuthService implements AuthClient {
  private readonly revocationListeners = new Set<(subject: string | undefined) => void>()

  constructor(private readonly parts: AuthServiceParts) {}

  async verify(credential: string): Promise<Identity> {
    const { database, pepper, clock } = this.parts
    // Before a connection is taken: a typing error costs no look-up.
    apiKeyIdOf(credential)
    return acrossOrganisations(database, (queries) =>
      verifyKey(queries, credential, { pepper, nowMs: clock.now() }),
    )
  }

  administer(call: AdministrationCall): Promise<unknown> {
    return administer(this.parts, call)
  }

  async problem(): Promise<HelixError | undefined> {
    try {
      await this.parts.database.query('select 1')
      return undefined
    } catch (reason) {
      return HelixError.from(reason)
    }
  }

  watchRevocations(listener: (subject: string | undefined) => void): () => void {
    this.revocationListeners.add(listener)
    return () => this.revocationListeners.delete(listener)
  }

  /** To be called for each end that the database tells of, and with undefined when some may have been missed. */
  announceRevocation(subject: string | undefined): void {
    for (const listener of this.revocationListeners) listener(subject)
  }
}
