import type { AuthClient, CreatedKey, CreateKeyRequest, Identity, KeyView } from '../contracts/auth.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { DEFAULT_ACCOUNT } from '../storage/accounts.ts'
import type { Database } from '../storage/database.ts'
import { findKey, insertKey, listKeys, revokeKey, type StoredKey } from '../storage/keys.ts'
import { apiKeyHmac, apiKeyId, hmacMatches, isApiKeyId, newApiKey } from './api-keys.ts'

export interface AuthServiceParts {
  readonly database: Database
  /** 256 bits that never enter the database. */
  readonly pepper: Buffer
  readonly clock: Clock
}

/** Keys: who calls, and who may. It remembers nothing between calls; whoever caches its answers watches revocations. */
export class AuthService implements AuthClient {
  private readonly revocationListeners = new Set<(keyId: string | undefined) => void>()

  constructor(private readonly parts: AuthServiceParts) {}

  async verifyKey(presented: string): Promise<Identity> {
    const { database, pepper, clock } = this.parts
    const id = apiKeyId(presented)
    if (id === undefined) throw invalidApiKey()

    const hmac = apiKeyHmac(presented, pepper)
    const key = await findKey(database, id)
    // From the outside a key that does not exist is one whose secret is wrong: one answer, one cost.
    if (!hmacMatches(hmac, key?.secretHmac) || !key) throw invalidApiKey()
    if (key.revokedAtMs !== undefined) {
      throw new HelixError('api_key_revoked', 'This API key has been revoked. Use another one.')
    }
    if (key.expiresAtMs !== undefined && key.expiresAtMs <= clock.now()) {
      throw new HelixError('api_key_expired', 'This API key has expired. Create a new one.')
    }
    const { organisationId, projectId, expiresAtMs } = key
    return { organisationId, projectId, keyId: key.id, expiresAtMs }
  }

  async problem(): Promise<HelixError | undefined> {
    try {
      await this.parts.database.query('select 1')
      return undefined
    } catch (reason) {
      return HelixError.from(reason)
    }
  }

  async createKey(request: CreateKeyRequest): Promise<CreatedKey> {
    const { database, pepper, clock } = this.parts
    checkRequest(request, clock.now())
    const { id, plaintext } = newApiKey()
    const key: StoredKey = {
      ...DEFAULT_ACCOUNT,
      id,
      name: request.name,
      secretHmac: apiKeyHmac(plaintext, pepper),
      createdAtMs: clock.now(),
      expiresAtMs: request.expiresAtMs,
      revokedAtMs: undefined,
    }
    await insertKey(database, key)
    return { ...toView(key), plaintext }
  }

  async listKeys(): Promise<readonly KeyView[]> {
    return (await listKeys(this.parts.database, DEFAULT_ACCOUNT)).map(toView)
  }

  async revokeKey(keyId: string): Promise<KeyView> {
    const { database, clock } = this.parts
    const key = isApiKeyId(keyId)
      ? await revokeKey(database, DEFAULT_ACCOUNT, { id: keyId, nowMs: clock.now() })
      : undefined
    if (!key)
      throw new HelixError('not_found', 'There is no API key with this id. `helixflow keys list` shows them.')
    return toView(key)
  }

  watchRevocations(listener: (keyId: string | undefined) => void): () => void {
    this.revocationListeners.add(listener)
    return () => this.revocationListeners.delete(listener)
  }

  /** To be called for each revocation that the database tells of, and with undefined when some may have been missed. */
  announceRevocation(keyId: string | undefined): void {
    for (const listener of this.revocationListeners) listener(keyId)
  }
}

function invalidApiKey(): HelixError {
  return new HelixError('invalid_api_key', 'Incorrect API key provided. `helixflow keys create` makes one.')
}

function checkRequest({ name, expiresAtMs }: CreateKeyRequest, nowMs: number): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the purpose
  if (name.trim() === '' || name.length > 100 || /[\u0000-\u001f\u007f]/.test(name)) {
    throw new HelixError('invalid_value', 'name must be 1 to 100 printable characters.', { param: 'name' })
  }
  if (expiresAtMs !== undefined && !(expiresAtMs > nowMs && expiresAtMs < EXPIRES_AT_MAX_MS)) {
    throw new HelixError('invalid_value', 'expiresAtMs must be a time in the future.', {
      param: 'expiresAtMs',
    })
  }
}

/** The year 9999: later ones have another notation. */
const EXPIRES_AT_MAX_MS = 253_402_300_800_000

function toView({ secretHmac: _, ...view }: StoredKey): KeyView {
  return view
}
