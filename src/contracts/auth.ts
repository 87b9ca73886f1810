import type { HelixError } from '../core/errors.ts'

/**
 * What the auth service offers. In `helixflow up` the service object itself stands behind this interface;
 * apart, a generated RPC client does.
 */
export interface AuthClient {
  /**
   * Whom an API key belongs to.
   * @throws HelixError `invalid_api_key`, `api_key_revoked`, `api_key_expired`, `storage_unavailable`
   */
  verifyKey(presented: string): Promise<Identity>

  /** The plaintext is in this answer and nowhere else. */
  createKey(request: CreateKeyRequest): Promise<CreatedKey>
  listKeys(): Promise<readonly KeyView[]>
  /** @throws HelixError `not_found` */
  revokeKey(keyId: string): Promise<KeyView>

  /** Why keys cannot be verified at the moment; undefined when they can. For `/readyz`. */
  problem(): Promise<HelixError | undefined>

  /**
   * Calls back for each key that stops being valid, on whichever process that was decided. `undefined` means
   * that messages may have been missed and every cached answer must go. Returns what ends the watch.
   */
  watchRevocations(listener: (keyId: string | undefined) => void): () => void
}

/** Who is calling. Built by the auth service alone: there is no default identity. */
export interface Identity {
  readonly organisationId: string
  readonly projectId: string
  readonly keyId: string
  /** A cached identity is not used beyond this moment. */
  readonly expiresAtMs: number | undefined
}

export interface CreateKeyRequest {
  readonly name: string
  readonly expiresAtMs?: number | undefined
}

export interface KeyView {
  readonly id: string
  readonly name: string
  readonly organisationId: string
  readonly projectId: string
  readonly createdAtMs: number
  readonly expiresAtMs: number | undefined
  readonly revokedAtMs: number | undefined
}

export interface CreatedKey extends KeyView {
  readonly plaintext: string
}
