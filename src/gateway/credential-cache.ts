import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { AuthClient, Identity } from '../contracts/auth.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { noSpan, type Span, spanned } from '../core/tracing.ts'

export interface CredentialCacheOptions {
  readonly auth: Pick<AuthClient, 'verify' | 'watchRevocations'>
  readonly clock: Clock
  readonly entriesMax: number
  /** An answer is trusted this long; the bound where revocations do not get through. */
  readonly ttlMs: number
  /** While the auth service cannot answer, what was good before stays good this long. */
  readonly graceMs: number
}

/** A request that runs on a credential, and how to end it. */
interface Running {
  readonly credential: string
  readonly subjects: readonly string[]
  readonly end: (reason: HelixError) => void
}

interface Verified {
  readonly identity: Identity
  untilMs: number
  readonly graceUntilMs: number
}

/** How long an outage is not asked about again. */
const OUTAGE_PAUSE_MS = 1_000

/**
 * Verified credentials, so that a request costs no question to the auth service. Bounded in number and time. What ends
 * anywhere is forgotten here at once, and requests that run on it end too; when ends may have been missed, everything
 * is asked again.
 */
export class CredentialCache {
  private readonly verified: LRUCache<string, Verified>
  /** Refused ones, apart: a flood of guesses cannot push out who is known. */
  private readonly refused: LRUCache<string, { readonly error: HelixError; readonly untilMs: number }>
  private readonly pending = new Map<string, Promise<Identity>>()
  private readonly running = new Set<Running>()
  private readonly unwatch: () => void
  private cancelRecheck: () => void = () => {}
  private generation = 0

  constructor(private readonly options: CredentialCacheOptions) {
    this.verified = new LRUCache({ max: options.entriesMax })
    this.refused = new LRUCache({ max: options.entriesMax })
    this.unwatch = options.auth.watchRevocations((subject) => this.forget(subject))
    this.scheduleRecheck()
  }

  /** @param span of which the question is a part, where there must be one @throws HelixError as `AuthClient.verify` */
  identify(credential: string, span: Span = noSpan): Identity | Promise<Identity> {
    // The whole of it, hashed: no prefix can stand for another one, and memory holds no plaintext.
    const id = hash('sha256', credential)
    const nowMs = this.options.clock.now()
    const entry = this.verified.get(id)
    if (entry && entry.untilMs > nowMs) return entry.identity
    const refusal = this.refused.get(id)
    if (refusal && refusal.untilMs > nowMs) throw refusal.error
    return this.pending.get(id) ?? this.verify(id, { credential, span }, entry)
  }

  /** For as long as a request runs, its credential is looked after. Returns what ends that. */
  hold(credential: string, identity: Identity, end: (reason: HelixError) => void): () => void {
    const one = { credential, subjects: identity.subjects, end }
    this.running.add(one)
    return () => this.running.delete(one)
  }

  stop(): void {
    this.unwatch()
    this.cancelRecheck()
  }

  private verify(
    id: string,
    { credential, span }: { readonly credential: string; readonly span: Span },
    known: Verified | undefined,
  ): Promise<Identity> {
    const generation = this.generation
    const asking = span.child('authenticate', 'client')
    const verifying = spanned(asking, this.options.auth.verify(credential, asking))
      .then((identity) => {
        // An answer that was on its way while something ended may be older than that end.
        if (generation === this.generation) this.remember(id, identity)
        return identity
      })
      .catch((reason: unknown) => this.outlast(id, HelixError.from(reason), known))
      .finally(() => this.pending.delete(id))
    this.pending.set(id, verifying)
    return verifying
  }

  private remember(id: string, identity: Identity): void {
    const { clock, ttlMs, graceMs } = this.options
    const nowMs = clock.now()
    const endMs = identity.expiresAtMs ?? Number.POSITIVE_INFINITY
    this.verified.set(id, {
      identity,
      untilMs: Math.min(nowMs + ttlMs, endMs),
      graceUntilMs: Math.min(nowMs + ttlMs + graceMs, endMs),
    })
  }

  /** A refusal is one; but no answer at all is none, and somebody who was known a moment ago is not turned away. */
  private outlast(id: string, error: HelixError, known: Verified | undefined): Identity {
    const nowMs = this.options.clock.now()
    if (error.status === 401) {
      this.verified.delete(id)
      // Of a whole credential with its secret: one that does not exist yet cannot have been tried before.
      this.refused.set(id, { error, untilMs: nowMs + this.options.ttlMs })
      throw error
    }
    // What was forgotten meanwhile has ended.
    if (!known || known.graceUntilMs <= nowMs || this.verified.peek(id) !== known) throw error
    known.untilMs = Math.min(nowMs + OUTAGE_PAUSE_MS, known.graceUntilMs)
    return known.identity
  }

  private forget(subject: string | undefined): void {
    this.generation++
    if (subject === undefined) {
      this.verified.clear()
      this.refused.clear()
    } else {
      for (const [id, { identity }] of this.verified.entries())
        if (identity.subjects.includes(subject)) this.verified.delete(id)
    }
    this.recheck((one) => subject === undefined || one.subjects.includes(subject))
  }

  /** Asks again for requests that run: a key that was rotated or given other rights is not one that has ended. */
  private recheck(concerned: (one: Running) => boolean): void {
    for (const one of [...this.running].filter(concerned)) {
      void (async () => {
        try {
          await this.identify(one.credential)
        } catch (reason) {
          const error = HelixError.from(reason)
          if (error.status === 401 && error.code !== 'token_expired') one.end(error)
        }
      })()
    }
  }

  private scheduleRecheck(): void {
    this.cancelRecheck = this.options.clock.schedule(this.options.ttlMs, () => {
      this.recheck(() => true)
      this.scheduleRecheck()
    })
  }
}
