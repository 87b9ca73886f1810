import type { ModelDemand, PoolClient, Replica } from '../../contracts/pool.ts'
import { DemandReport } from './demand-report.ts'
import type { Lease, Want } from './lease.ts'
import { ModelQueue, type ModelQueueOptions } from './model-queue.ts'
import { Seats, SUSPECT_MS } from './seats.ts'

export interface RouterOptions extends ModelQueueOptions {
  readonly pool: PoolClient
  /** Whether requests may go to a replica at the moment; all may where this is left out. */
  readonly usable?: (replica: Replica) => boolean
}

/**
 * Finds a replica with free slots for each request: the one that loses the least time over it among those that are ready,
 * else a place in the model's queue, where the pool is asked to load one if there is none.
 */
export class Router {
  private readonly seats: Seats
  private readonly queues = new Map<string, ModelQueue>()
  private readonly demand: DemandReport
  private readonly unwatch: () => void

  constructor(private readonly options: RouterOptions) {
    const { pool, clock, usable = () => true } = options
    this.seats = new Seats({ pool, clock, usable })
    this.demand = new DemandReport({ pool, clock, count: () => this.count() })
    this.unwatch = pool.watchReplicas((replicas) => {
      this.seats.replace(replicas)
      this.changed()
    })
  }

  /**
   * @throws HelixError `server_overloaded`, `queue_timeout`, `model_loading`, `insufficient_memory` and whatever
   *   `PoolClient.acquire` throws; the signal's reason when it aborts first
   */
  lease(want: Want): Promise<Lease> {
    const { model } = want
    const queue = this.queues.get(model) ?? new ModelQueue(model, this.seats, this.options)
    this.queues.set(model, queue)
    this.demand.wake()
    return queue.lease(want)
  }

  /** In words for whoever waits, where it stands and what for. */
  async explainWait(want: Want): Promise<string> {
    return (await this.queues.get(want.model)?.explainWait(want)) ?? `waiting for ${want.model}`
  }

  /** Passes over a replica for a moment: a connection to it broke. */
  suspect(replicaId: string): void {
    const model = this.seats.suspect(replicaId)
    if (model === undefined) return
    this.queues.get(model)?.changed()
    this.options.clock.schedule(SUSPECT_MS, () => this.queues.get(model)?.changed())
  }

  /** A slot for a test of the replica, as long as nobody waits for its model. Returns what gives it back. */
  borrow({ id, model }: Replica): (() => void) | undefined {
    if ((this.queues.get(model)?.size ?? 0) > 0) return undefined
    const giveBack = this.seats.borrow(id)
    if (!giveBack) return undefined
    return () => {
      giveBack()
      this.queues.get(model)?.changed()
    }
  }

  /** When a request had that replica last, on the monotonic clock. */
  usedAtMs(replicaId: string): number | undefined {
    return this.seats.usedAtMs(replicaId)
  }

  /** Whether that replica is asked like any other, or only while no other may be: its tests fail. */
  trust(replicaId: string, isTrusted: boolean): void {
    const model = this.seats.trust(replicaId, isTrusted)
    if (model !== undefined) this.queues.get(model)?.changed()
  }

  /** Another answer is to be had of `usable`, or replicas have changed. */
  changed(): void {
    for (const queue of this.queues.values()) queue.changed()
  }

  stop(): void {
    this.unwatch()
    this.demand.stop()
  }

  private count(): readonly ModelDemand[] {
    const counted: ModelDemand[] = []
    for (const [model, queue] of this.queues) {
      const { arrivals, inFlight, size: queued, isIdle, isUnknown, isReady, wasCounted } = queue
      queue.arrivals = 0
      queue.wasCounted = true
      if (isIdle) this.queues.delete(model)
      // Callers make names up, and each would be a metric. One that lasts is a model's: the pool refuses others at once.
      if (isIdle && isUnknown) continue
      if (isReady || wasCounted) this.options.metrics.set('helixflow_queue_depth', { model }, queued)
      counted.push({ model, arrivals, inFlight, queued })
    }
    return counted
  }
}
