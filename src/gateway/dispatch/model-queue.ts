import type { PoolClient } from '../../contracts/pool.ts'
import { type Clock, delay } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { Span } from '../../core/tracing.ts'
import { FairQueue, type FairQueueOptions, type Turn, tokenCost } from '../../scheduler/fair-queue.ts'
import { ServiceEstimate } from '../../scheduler/service-estimate.ts'
import type { Lease, Want } from './lease.ts'
import type { Seats } from './seats.ts'

export interface ModelQueueOptions {
  readonly pool: Pick<PoolClient, 'acquire' | 'explainWait'>
  readonly clock: Clock
  readonly metrics: Metrics
  readonly fairness: FairQueueOptions['by']
  /** Requests that may wait, per model. */
  readonly queueMax: number
  /** The longest that one waits for a slot of a model that is there. */
  readonly queueTimeoutMs: number
  /** The longest that one waits for its model. */
  readonly loadWaitMs: number
}

/** A request with its turn. */
interface Turned extends Turn {
  readonly want: Want
  readonly sinceMs: number
}

interface Waiter extends Turned {
  /** Of its wait. */
  readonly span: Span
  /** Ends the present limit on its wait. */
  cancel: () => void
  take(lease: Lease): void
  leave(reason: unknown): void
}

/** Where somebody stands among those who wait. */
export interface Place {
  readonly place: number
  readonly of: number
}

/** A quarter of the wait that is allowed brings a request to the next tier, so that from the last it is two quarters. */
const AGES_PER_TIMEOUT = 4
/** The pool has one ready that this gateway may not use at the moment; it will hear of it. */
const ASK_AGAIN_MS = 20
const PLACES_KEPT_MS = 500

/**
 * Those who want one model: they get slots of its replicas in the fair order, and the pool is asked for a replica as long as
 * there is none and somebody waits.
 */
export class ModelQueue {
  /** Since the last report. */
  arrivals = 0
  inFlight = 0
  /** There is no such model, as the pool said when it was asked last. */
  isUnknown = false
  /** It has been here at a report before. */
  wasCounted = false
  /** What those who wait are waiting for: a slot, or a replica. */
  isReady: boolean
  private readonly queue: FairQueue<Turned>
  private readonly waiters = new Map<Want, Waiter>()
  private readonly estimate = new ServiceEstimate()
  private loading: AbortController | undefined
  private places: { readonly atMs: number; readonly of: ReadonlyMap<Turned, number> } = NO_PLACES

  constructor(
    private readonly model: string,
    private readonly seats: Seats,
    private readonly options: ModelQueueOptions,
  ) {
    const { fairness, queueTimeoutMs } = options
    this.queue = new FairQueue({ by: fairness, ageMs: queueTimeoutMs / AGES_PER_TIMEOUT })
    this.isReady = seats.has(model)
  }

  get size(): number {
    return this.waiters.size
  }

  /** Nothing here matters to anybody. */
  get isIdle(): boolean {
    return this.size === 0 && this.inFlight === 0 && !this.loading && !this.seats.has(this.model)
  }

  /** @throws HelixError as `Router.lease` */
  async lease(want: Want): Promise<Lease> {
    want.signal.throwIfAborted()
    this.arrivals++
    const turned = { ...this.turnOf(want), want }
    // Whoever waits came first.
    const lease = this.size === 0 ? this.serve(turned) : undefined
    return lease ?? this.wait(turned)
  }

  /** Replicas came or went, or may be used that might not. */
  changed(): void {
    const isReady = this.seats.has(this.model)
    if (isReady !== this.isReady) {
      this.isReady = isReady
      for (const waiter of this.waiters.values()) this.limit(waiter)
    }
    this.serveAll()
    if (!isReady && this.size > 0 && !this.loading) void this.load()
  }

  placeOf(want: Want): Place | undefined {
    const waiter = this.waiters.get(want)
    if (!waiter) return undefined
    const nowMs = this.options.clock.monotonic()
    // The whole line is reckoned for one; others ask soon.
    if (!this.places.of.has(waiter) || nowMs - this.places.atMs > PLACES_KEPT_MS)
      this.places = { atMs: nowMs, of: new Map(this.queue.line().map((one, at) => [one, at + 1])) }
    const place = this.places.of.get(waiter)
    return place === undefined ? undefined : { place: Math.min(place, this.size), of: this.size }
  }

  private turnOf(want: Want) {
    const { tenant, tier, promptTokens, outputTokensMax, slots: choices } = want
    const { cost, serviceMs: predictedMs } = this.estimate.of({ promptTokens, outputTokensMax, choices })
    const sinceMs = this.options.clock.monotonic()
    const deadlineMs = Math.min(
      want.deadlineMs ?? Number.POSITIVE_INFINITY,
      sinceMs + this.options.queueTimeoutMs,
    )
    return { tenant, tier, deadlineMs, predictedMs, cost, sinceMs }
  }

  private wait(turned: Turned): Promise<Lease> {
    if (this.size >= this.options.queueMax) this.makeRoomFor(turned)
    return new Promise((resolve, reject) => {
      const { want } = turned
      const gone = () => {
        waiter.cancel()
        want.signal.removeEventListener('abort', onAbort)
        this.waiters.delete(want)
      }
      const onAbort = () => waiter.leave(want.signal.reason)
      const waiter: Waiter = {
        ...turned,
        span: want.span.child('wait for an engine', 'internal'),
        cancel: () => {},
        take: (lease) => {
          gone()
          waiter.span.end()
          resolve(lease)
        },
        leave: (reason) => {
          if (this.waiters.get(want) !== waiter) return
          gone()
          waiter.span.end(HelixError.from(reason))
          this.left(waiter)
          reject(reason)
        },
      }
      want.signal.addEventListener('abort', onAbort, { once: true })
      this.waiters.set(want, waiter)
      this.queue.add(waiter, turned.sinceMs)
      this.limit(waiter)
      if (waiter.span.traceId !== undefined) this.tellPlace(waiter)
      this.changed()
    })
  }

  private tellPlace({ want, span }: Waiter): void {
    const { place, of } = this.placeOf(want) ?? {}
    span.set({
      'gen_ai.request.model': this.model,
      'helixflow.queue.place': place,
      'helixflow.queue.length': of,
      'helixflow.queue.reason': this.isReady ? 'slots in use' : 'no replica',
    })
  }

  /** @throws HelixError `server_overloaded` where nobody has more places than would be fair */
  private makeRoomFor(turned: Turned): void {
    const text = `${this.size} requests wait for '${this.model}' already.`
    const overloaded = new HelixError('server_overloaded', text, { retryAfterMs: 1_000 })
    const displaced = this.queue.displacedBy(turned)
    if (!displaced) throw overloaded
    this.waiters.get(displaced.want)?.leave(overloaded)
  }

  /** Somebody gives up; who stood behind may fit now. */
  private left(waiter: Waiter): void {
    this.queue.remove(waiter)
    if (this.size === 0) this.loading?.abort()
    else this.serveAll()
  }

  private limit(waiter: Waiter): void {
    const { clock, queueTimeoutMs, loadWaitMs } = this.options
    waiter.cancel()
    waiter.cancel = this.isReady
      ? clock.schedule(queueTimeoutMs, () => waiter.leave(this.queueTimeout(waiter)))
      : clock.schedule(loadWaitMs, () => {
          const words = this.placeWords(waiter.want)
          void this.loadTimeout(words).then(waiter.leave, waiter.leave)
        })
  }

  private serveAll(): void {
    for (;;) {
      const waiter = this.queue.next(this.options.clock.monotonic())
      const lease = waiter && this.serve(waiter)
      if (!lease) return
      this.waiters.get(waiter.want)?.take(lease)
    }
  }

  private serve(turned: Turned): Lease | undefined {
    const { clock, metrics } = this.options
    const { want, cost, sinceMs } = turned
    const taken = this.seats.take(want, { cost, msPerCost: this.estimate.msPerCost })
    if (!taken) return undefined
    this.queue.start(turned)
    this.inFlight++
    const startMs = clock.monotonic()
    const waitedMs = startMs - sinceMs
    metrics.observe('helixflow_queue_wait_seconds', { model: this.model }, waitedMs / 1_000)
    let released = false
    const release = () => {
      if (released) return
      released = true
      this.inFlight--
      this.settle(turned, startMs)
      taken.release(() => this.serveAll())
    }
    return { replica: taken.replica, route: taken.route, waitedMs, release }
  }

  private settle(turned: Turned, startMs: number): void {
    const { want } = turned
    const used = want.used()
    this.queue.settle(turned, tokenCost(used))
    if (used.completionTokens > 0)
      this.estimate.learn(used, { choices: want.slots }, this.options.clock.monotonic() - startMs)
  }

  /** One load for all who wait. */
  private async load(): Promise<void> {
    const { pool, clock } = this.options
    const abort = new AbortController()
    this.loading = abort
    try {
      while (this.size > 0 && !this.seats.has(this.model)) {
        // In the trace of who waits longest; for the others it is a wait.
        const [first] = this.waiters.values()
        await pool.acquire(this.model, abort.signal, first?.span)
        this.isUnknown = false
        if (!this.seats.has(this.model)) await delay(clock, ASK_AGAIN_MS, abort.signal)
      }
    } catch (reason) {
      this.isUnknown = reason instanceof HelixError && reason.code === 'model_not_found'
      if (!abort.signal.aborted) for (const waiter of [...this.waiters.values()]) waiter.leave(reason)
    } finally {
      this.loading = undefined
    }
    this.changed()
  }

  private placeWords(want: Want): string {
    const found = this.placeOf(want)
    return found ? `place ${found.place} of ${found.of} for ${this.model}` : `waiting for ${this.model}`
  }

  /** In words for whoever waits: `place 3 of 12 for smollm2, loading smollm2 since 4 s`. */
  async explainWait(want: Want): Promise<string> {
    const words = this.placeWords(want)
    if (this.seats.has(this.model)) return `${words}, all its slots are in use`
    return this.options.pool.explainWait(this.model).then(
      ({ reason }) => `${words}, ${reason}`,
      // Nobody leads, or it is on its way: the wait goes on, and its place is known here.
      () => words,
    )
  }

  private queueTimeout({ want }: Waiter): HelixError {
    const seconds = Math.round(this.options.queueTimeoutMs / 1_000)
    const text = `No slot of '${this.model}' came free in ${seconds} s (${this.placeWords(want)}). Try again.`
    return new HelixError('queue_timeout', text, { retryAfterMs: 2_000 })
  }

  private async loadTimeout(place: string): Promise<HelixError> {
    const { code, reason, remainingMs } = await this.options.pool.explainWait(this.model)
    const text = `The model '${this.model}' is not ready yet: ${place}, ${reason}. Try again.`
    return new HelixError(code, text, { retryAfterMs: Math.min(60_000, remainingMs ?? 5_000) })
  }
}

const NO_PLACES = { atMs: Number.NEGATIVE_INFINITY, of: new Map<Turned, number>() }
