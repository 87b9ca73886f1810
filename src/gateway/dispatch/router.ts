import type { PoolClient, Replica } from '../../contracts/pool.ts'
import { type Clock, delay } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'

export interface RouterOptions {
  readonly pool: PoolClient
  readonly clock: Clock
  /** Requests that may wait for a slot, per model. */
  readonly queueMax: number
  readonly queueTimeoutMs: number
  readonly loadWaitMs: number
}

/** The right to use some slots of a replica. Give it back exactly once. */
export interface Lease {
  readonly replica: Replica
  release(): void
}

export interface Want {
  readonly model: string
  readonly slots: number
  readonly signal: AbortSignal
}

/** How long a replica that broke a connection is passed over, unless the pool says sooner what became of it. */
const SUSPECT_MS = 1_000

/**
 * Finds a replica with free slots for each request: the one with the least work among those that are ready, else a
 * place in the model's queue, else the pool is asked to load one.
 */
export class Router {
  private readonly seats = new Map<string, Seat>()
  private readonly queues = new Map<string, Waiter[]>()
  private readonly unwatch: () => void

  constructor(private readonly options: RouterOptions) {
    this.unwatch = options.pool.watchReplicas((replicas) => this.replaceTable(replicas))
  }

  /**
   * @throws HelixError `server_overloaded`, `queue_timeout`, `model_loading`, `insufficient_memory` and whatever
   *   `PoolClient.acquire` throws; the signal's reason when it aborts first
   */
  async lease(want: Want): Promise<Lease> {
    const deadlineMs = this.options.clock.monotonic() + this.options.loadWaitMs
    while (!this.hasReplica(want.model)) {
      want.signal.throwIfAborted()
      await this.acquire(want, deadlineMs)
      // The pool has one ready that just broke a connection: it will hear of the engine's end in a moment.
      if (!this.hasReplica(want.model)) await delay(this.options.clock, 20, want.signal)
    }
    return this.seat(want) ?? this.enqueue(want)
  }

  /** Passes over a replica for a moment: a connection to it broke. */
  suspect(replicaId: string): void {
    const seat = this.seats.get(replicaId)
    if (seat) seat.suspectUntilMs = this.options.clock.monotonic() + SUSPECT_MS
  }

  stop(): void {
    this.unwatch()
  }

  private async acquire(want: Want, deadlineMs: number): Promise<void> {
    const { pool, clock } = this.options
    const remainingMs = deadlineMs - clock.monotonic()
    if (remainingMs <= 0) throw await this.loadTimeout(want.model)
    const timeout = new AbortController()
    const cancel = clock.schedule(remainingMs, () => timeout.abort())
    try {
      await pool.acquire(want.model, AbortSignal.any([want.signal, timeout.signal]))
    } catch (reason) {
      if (timeout.signal.aborted && !want.signal.aborted) throw await this.loadTimeout(want.model)
      throw reason
    } finally {
      cancel()
    }
  }

  private async loadTimeout(model: string): Promise<HelixError> {
    const { code, reason, remainingMs } = await this.options.pool.explainWait(model)
    return new HelixError(code, `The model '${model}' is not ready yet: ${reason}. Try again.`, {
      retryAfterMs: Math.min(60_000, remainingMs ?? 5_000),
    })
  }

  private enqueue(want: Want): Promise<Lease> {
    const { clock, queueMax, queueTimeoutMs } = this.options
    const queue = this.queues.get(want.model) ?? []
    this.queues.set(want.model, queue)
    if (queue.length >= queueMax) {
      throw new HelixError(
        'server_overloaded',
        `${queue.length} requests wait for '${want.model}' already.`,
        {
          retryAfterMs: 1_000,
        },
      )
    }
    return new Promise((resolve, reject) => {
      const leave = (reason: unknown) => {
        cancel()
        want.signal.removeEventListener('abort', onAbort)
        const place = queue.indexOf(waiter)
        if (place >= 0) queue.splice(place, 1)
        reject(reason)
      }
      const onAbort = () => leave(want.signal.reason)
      const cancel = clock.schedule(queueTimeoutMs, () => leave(queueTimeout(want.model, queueTimeoutMs)))
      const waiter: Waiter = {
        want,
        take: (lease) => {
          cancel()
          want.signal.removeEventListener('abort', onAbort)
          resolve(lease)
        },
        leave,
      }
      want.signal.addEventListener('abort', onAbort, { once: true })
      queue.push(waiter)
    })
  }

  private seat({ model, slots }: Want): Lease | undefined {
    // Whoever waits came first.
    if ((this.queues.get(model)?.length ?? 0) > 0) return undefined
    return this.takeSlots(model, slots)
  }

  private takeSlots(model: string, slots: number): Lease | undefined {
    const nowMs = this.options.clock.monotonic()
    let best: Seat | undefined
    for (const seat of this.seats.values()) {
      if (seat.replica.model !== model || seat.leaving || seat.suspectUntilMs > nowMs) continue
      // A request with more choices than a replica has slots takes all of them; the engine works them off in turn.
      if (seat.inUse + Math.min(slots, seat.replica.slots) > seat.replica.slots) continue
      if (!best || seat.inUse / seat.replica.slots < best.inUse / best.replica.slots) best = seat
    }
    return best && this.grant(best, Math.min(slots, best.replica.slots))
  }

  private grant(seat: Seat, slots: number): Lease {
    seat.inUse += slots
    this.options.pool.reportUse(seat.replica.id, seat.inUse)
    let released = false
    const release = () => {
      if (released) return
      released = true
      seat.inUse -= slots
      this.serveQueue(seat.replica.model)
      if (seat.leaving && seat.inUse === 0) this.seats.delete(seat.replica.id)
      this.options.pool.reportUse(seat.replica.id, seat.inUse)
    }
    return { replica: seat.replica, release }
  }

  private serveQueue(model: string): void {
    const queue = this.queues.get(model)
    while (queue?.[0]) {
      const lease = this.takeSlots(model, queue[0].want.slots)
      if (!lease) return
      queue.shift()?.take(lease)
    }
  }

  private replaceTable(replicas: readonly Replica[]): void {
    const present = new Set(replicas.map(({ id }) => id))
    for (const [id, seat] of this.seats) {
      if (present.has(id)) continue
      if (seat.inUse === 0) this.seats.delete(id)
      else seat.leaving = true
    }
    for (const replica of replicas) {
      const seat = this.seats.get(replica.id)
      // This gateway's share of its slots may be another one by now, and it may have come back.
      if (seat) Object.assign(seat, { replica, leaving: false })
      else this.seats.set(replica.id, { replica, inUse: 0, leaving: false, suspectUntilMs: 0 })
    }
    for (const model of this.queues.keys()) {
      if (this.hasReplica(model)) this.serveQueue(model)
      else this.requeue(model)
    }
  }

  /** The last replica of a model went while requests waited for its slots: they go back and wait for another one. */
  private requeue(model: string): void {
    const waiting = this.queues.get(model)?.splice(0) ?? []
    for (const waiter of waiting) this.lease(waiter.want).then(waiter.take, waiter.leave)
  }

  private hasReplica(model: string): boolean {
    const nowMs = this.options.clock.monotonic()
    for (const seat of this.seats.values()) {
      if (seat.replica.model === model && !seat.leaving && seat.suspectUntilMs <= nowMs) return true
    }
    return false
  }
}

interface Seat {
  replica: Replica
  inUse: number
  /** No longer in the pool's table; only the requests that it has are left. */
  leaving: boolean
  suspectUntilMs: number
}

interface Waiter {
  readonly want: Want
  take(lease: Lease): void
  leave(reason: unknown): void
}

function queueTimeout(model: string, afterMs: number): HelixError {
  const seconds = Math.round(afterMs / 1000)
  return new HelixError('queue_timeout', `No slot of '${model}' came free in ${seconds} s. Try again.`, {
    retryAfterMs: 2_000,
  })
}
