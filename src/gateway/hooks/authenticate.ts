import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { AuthClient, Identity } from '../../contracts/auth.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'

export interface KeyCacheOptions {
  readonly auth: AuthClient
  readonly clock: Clock
  readonly entriesMax: number
  readonly ttlMs: number
}

/**
 * Verified keys, so that a request costs no question to the auth service. Bounded in number and time; a revocation
 * removes its key at once, and when revocations may have been missed everything goes.
 */
export class KeyCache {
  private readonly verified: LRUCache<string, { identity: Identity; untilMs: number }>
  private readonly pending = new Map<string, Promise<Identity>>()
  private readonly unwatch: () => void
  private generation = 0

  constructor(private readonly options: KeyCacheOptions) {
    this.verified = new LRUCache({ max: options.entriesMax })
    this.unwatch = options.auth.watchRevocations((keyId) => this.forget(keyId))
  }

  /** @throws HelixError as `AuthClient.verifyKey` */
  identify(presented: string): Identity | Promise<Identity> {
    // The whole key, hashed: no prefix can stand for another key, and memory holds no plaintext.
    const id = hash('sha256', presented)
    const entry = this.verified.get(id)
    if (entry && entry.untilMs > this.options.clock.now()) return entry.identity
    return this.pending.get(id) ?? this.verify(id, presented)
  }

  stop(): void {
    this.unwatch()
  }

  private verify(id: string, presented: string): Promise<Identity> {
    const generation = this.generation
    const verifying = this.options.auth
      .verifyKey(presented)
      .then((identity) => {
        // An answer that was on its way while a key was revoked may be older than the revocation.
        if (generation === this.generation) this.remember(id, identity)
        return identity
      })
      .finally(() => this.pending.delete(id))
    this.pending.set(id, verifying)
    return verifying
  }

  private remember(id: string, identity: Identity): void {
    const endMs = this.options.clock.now() + this.options.ttlMs
    this.verified.set(id, { identity, untilMs: Math.min(endMs, identity.expiresAtMs ?? endMs) })
  }

  private forget(keyId: string | undefined): void {
    this.generation++
    if (keyId === undefined) this.verified.clear()
    for (const [id, { identity }] of this.verified.entries())
      if (identity.keyId === keyId) this.verified.delete(id)
  }
}

const KEY_LENGTH_MAX = 512

/**
 * Refuses a request whose key is missing or wrong; afterwards `request.identity` is set. A key that is known costs no
 * promise.
 */
export function authenticate(cache: KeyCache) {
  return (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void => {
    const accept = (identity: Identity) => {
      request.identity = identity
      done()
    }
    try {
      const identity = cache.identify(presentedKey(request.headers.authorization))
      if (identity instanceof Promise) identity.then(accept, done)
      else accept(identity)
    } catch (reason) {
      done(HelixError.from(reason))
    }
  }
}

function presentedKey(header: string | undefined): string {
  const [, key] = /^Bearer +(\S+) *$/i.exec(header ?? '') ?? []
  if (key !== undefined && key.length <= KEY_LENGTH_MAX) return key
  if (header === undefined) {
    throw new HelixError('missing_api_key', 'Send an API key in the header: Authorization: Bearer hf_...')
  }
  throw new HelixError('invalid_api_key', 'The Authorization header does not hold an API key.')
}
