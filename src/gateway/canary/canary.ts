import type { PoolClient, Replica } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { EngineClients } from '../dispatch/engine-client.ts'
import type { Router } from '../dispatch/router.ts'
import { askCanary, type CanaryAnswer, type CanaryKind } from './canary-request.ts'

export interface CanaryOptions {
  readonly router: Pick<Router, 'borrow' | 'usedAtMs' | 'trust'>
  readonly clients: EngineClients
  readonly pool: Pick<PoolClient, 'watchReplicas'>
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log: Logger
  /** Null or 0: never. */
  readonly intervalMs: number | null
}

/** What is known of one replica by its tests. */
interface Tested {
  kind: CanaryKind | undefined
  /** In a row. */
  failures: number
  answered: boolean | undefined
  running: boolean
}

/** One failure may be chance, as a moment without a processor; after two the requests go elsewhere where they can. */
const FAILURES_UNTIL_DISTRUST = 2

/**
 * Finds out that an engine works before a request does: each replica of our own that was idle is asked for one token now
 * and then. Those that have requests show by them how they are. Servers of others are never asked, for that costs money.
 */
export class Canary {
  private replicas: ReadonlyMap<string, Replica> = new Map()
  private readonly tested = new Map<string, Tested>()
  private shown: ReadonlySet<string> = new Set()
  private readonly unwatch: () => void
  private cancel: () => void = () => {}

  constructor(private readonly options: CanaryOptions) {
    const { pool, intervalMs } = options
    this.unwatch = intervalMs ? pool.watchReplicas((replicas) => this.replace(replicas)) : () => {}
    if (intervalMs) this.schedule(intervalMs)
  }

  stop(): void {
    this.unwatch()
    this.cancel()
  }

  private schedule(intervalMs: number): void {
    this.cancel = this.options.clock.schedule(intervalMs, () => {
      for (const replica of this.replicas.values()) void this.test(replica, intervalMs)
      this.schedule(intervalMs)
    })
  }

  private replace(replicas: readonly Replica[]): void {
    const own = replicas.filter(({ engine }) => engine !== 'upstream')
    this.replicas = new Map(own.map((one) => [one.id, one]))
    for (const id of this.tested.keys()) if (!this.replicas.has(id)) this.tested.delete(id)
    for (const id of this.replicas.keys()) {
      if (this.tested.has(id)) continue
      this.tested.set(id, { kind: undefined, failures: 0, answered: undefined, running: false })
    }
    this.show()
  }

  private async test(replica: Replica, intervalMs: number): Promise<void> {
    const { router, clock, log } = this.options
    const tested = this.tested.get(replica.id)
    const startMs = clock.monotonic()
    if (!tested || tested.running || !this.isDue(replica, tested, startMs - intervalMs)) return
    const giveBack = router.borrow(replica)
    if (!giveBack) return
    tested.running = true
    try {
      const answer = await askCanary(replica, tested.kind, this.options)
      // What left the table while it was asked was stopped on purpose.
      if (this.tested.get(replica.id) === tested) this.learn(replica, answer, clock.monotonic() - startMs)
    } catch (reason) {
      log.error('canary failed', { replica: replica.id, cause: HelixError.from(reason).message })
    } finally {
      tested.running = false
      giveBack()
    }
  }

  /** One that failed is asked again also when requests go to it: it is asked by them too, and they may hang. */
  private isDue({ id }: Replica, { answered }: Tested, sinceMs: number): boolean {
    const usedAtMs = this.options.router.usedAtMs(id) ?? Number.NEGATIVE_INFINITY
    return answered === false || usedAtMs <= sinceMs
  }

  private learn({ id, model }: Replica, { problem, kind }: CanaryAnswer, tookMs: number): void {
    const { router, metrics, log } = this.options
    const tested = this.tested.get(id)
    if (!tested) return
    tested.answered = problem === undefined
    tested.kind = kind ?? tested.kind
    tested.failures = tested.answered ? 0 : tested.failures + 1
    if (tested.answered) metrics.observe('helixflow_canary_seconds', { model }, tookMs / 1_000)
    else {
      metrics.add('helixflow_canary_failures_total', { model })
      log.warn('replica failed its test', { replica: id, model, problem, failures: tested.failures })
    }
    router.trust(id, tested.failures < FAILURES_UNTIL_DISTRUST)
    this.show()
  }

  /** Of each model that has a replica which was tested. */
  private show(): void {
    const { metrics } = this.options
    const healthy = new Map<string, boolean>()
    for (const { id, model } of this.replicas.values()) {
      const { answered } = this.tested.get(id) ?? {}
      if (answered !== undefined) healthy.set(model, (healthy.get(model) ?? true) && answered)
    }
    for (const model of this.shown)
      if (!healthy.has(model)) metrics.drop('helixflow_canary_healthy', { model })
    for (const [model, well] of healthy) metrics.set('helixflow_canary_healthy', { model }, well ? 1 : 0)
    this.shown = new Set(healthy.keys())
  }
}
