import type {
  AdministrationCall,
  AuthClient,
  FinishLoginRequest,
  Identity,
  IssuedTokens,
  LoginRequest,
  StartedLogin,
  TokenIssuer,
  TokenRequest,
} from '../contracts/auth.ts'
import type { MonitorClient } from '../contracts/monitor.ts'
import type { UsageClient } from '../contracts/usage.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { readSchemaVersion } from '../storage/schema-version.ts'
import { acrossOrganisations } from '../storage/tenancy.ts'
import { type AccessTokens, looksLikeToken } from './access-tokens.ts'
import { administer } from './administration/administer.ts'
import type { SigningKeys } from './signing-keys.ts'
import { type BrowserLogin, TokenService } from './token-service.ts'
import { apiKeyIdOf, verifyKey } from './verify-key.ts'
import { identityOfToken } from './verify-token.ts'

export interface AuthServiceParts {
  readonly database: Database
  /** 256 bits that never enter the database. */
  readonly pepper: Buffer
  readonly clock: Clock
  readonly hashPassword: (password: string) => Promise<string>
  readonly usage: Pick<UsageClient, 'summary' | 'list'>
  readonly kpis: Pick<MonitorClient, 'kpis'>
  readonly signingKeys: SigningKeys
  readonly accessTokens: AccessTokens
  readonly sessionLifeMs: number
  readonly login: BrowserLogin | undefined
}

/** Who calls, and who may do what. It remembers nothing between calls; whoever caches its answers watches revocations. */
export class AuthService implements AuthClient, TokenIssuer {
  private readonly revocationListeners = new Set<(subject: string | undefined) => void>()

  private readonly tokens: TokenService

  constructor(private readonly parts: AuthServiceParts) {
    this.tokens = new TokenService({ ...parts, verifyKey: (presented) => this.verify(presented) })
  }

  async verify(credential: string): Promise<Identity> {
    const { database, pepper, clock, accessTokens } = this.parts
    if (looksLikeToken(credential)) {
      const claims = await accessTokens.verify(credential)
      return acrossOrganisations(database, (queries) => identityOfToken(queries, claims, clock.now()))
    }
    // Before a connection is taken: a typing error costs no look-up.
    apiKeyIdOf(credential)
    return acrossOrganisations(database, (queries) =>
      verifyKey(queries, credential, { pepper, nowMs: clock.now() }),
    )
  }

  administer(call: AdministrationCall): Promise<unknown> {
    return administer(this.parts, call)
  }

  issueToken(request: TokenRequest): Promise<IssuedTokens> {
    return this.tokens.issueToken(request)
  }

  keySet(): Promise<{ readonly keys: readonly object[] }> {
    return this.tokens.keySet()
  }

  startLogin(request: LoginRequest): Promise<StartedLogin> {
    return this.tokens.startLogin(request)
  }

  finishLogin(request: FinishLoginRequest): Promise<IssuedTokens & { readonly returnTo: string }> {
    return this.tokens.finishLogin(request)
  }

  /** From now on another key signs access tokens. Those that are out there stay good for their time. */
  rotateSigningKeys(): Promise<void> {
    return this.parts.signingKeys.rotate()
  }

  async problem(): Promise<HelixError | undefined> {
    try {
      const { problem } = await readSchemaVersion(this.parts.database)
      return problem === undefined ? undefined : new HelixError('migration_failed', problem)
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
