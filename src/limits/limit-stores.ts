import type { SpendClient } from '../contracts/limits.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { RedisConnection } from '../redis/connection.ts'
import { DatabaseBudgets } from './budget-fallback.ts'
import { MemoryStore } from './memory-store.ts'
import { Peers } from './peers.ts'
import { RedisStore } from './redis-store.ts'
import { ResilientStore } from './resilient-store.ts'
import type { LimitStore, Reservation } from './store.ts'

export interface LimitStoreOptions {
  /** Undefined: this gateway is the only one. */
  readonly redis:
    | { readonly connection: RedisConnection; readonly prefix: string; readonly timeoutMs: number }
    | undefined
  /** Names this gateway; unique among all. */
  readonly id: string
  readonly gatewaysMin: number
  readonly spend: SpendClient
  readonly running: () => readonly Reservation[]
  readonly requestDeadlineMs: number
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
}

export interface OpenedLimitStore {
  readonly store: LimitStore
  /** Who decides at the moment. */
  name(): 'memory' | 'redis' | 'share'
  stop(): Promise<void>
}

const SWEEP_EVERY_MS = 10_000
const REFRESH_EVERY_MS = 1_000

/** Counters for one gateway in its memory, for several in Redis with their shares to fall back to. */
export async function openLimitStore(options: LimitStoreOptions): Promise<OpenedLimitStore> {
  return options.redis ? sharedStore(options, options.redis) : ownStore(options)
}

function ownStore({ clock }: LimitStoreOptions): OpenedLimitStore {
  const store = new MemoryStore(clock)
  const stopSweeping = every(clock, SWEEP_EVERY_MS, () => store.sweep())
  return { store, name: () => 'memory', stop: async () => stopSweeping() }
}

async function sharedStore(
  options: LimitStoreOptions,
  { connection, prefix, timeoutMs }: NonNullable<LimitStoreOptions['redis']>,
): Promise<OpenedLimitStore> {
  const { id, gatewaysMin, clock, log, metrics, running } = options
  const { client } = connection
  const peers = new Peers({ client, prefix, id, gatewaysMin, clock, timeoutMs })
  await peers.start()
  const store = new ResilientStore({
    shared: new RedisStore({ client, prefix, id }),
    probe: () => peers.renew(),
    share: () => peers.share(),
    budgets: new DatabaseBudgets(options),
    id,
    running,
    clock,
    log,
    timeoutMs,
    onOutage: (away) => {
      if (away) metrics.add('helixflow_ratelimit_fallback_total', {})
      metrics.set('helixflow_ratelimit_fallback_active', {}, away ? 1 : 0)
    },
  })
  metrics.set('helixflow_ratelimit_fallback_active', {}, store.away ? 1 : 0)
  const stopSweeping = every(clock, SWEEP_EVERY_MS, () => {
    store.sweep()
    metrics.set('helixflow_ratelimit_gateways', {}, peers.share().gateways)
  })
  const stopRefreshing = every(clock, REFRESH_EVERY_MS, () => void store.refresh())
  return {
    store,
    name: () => (store.away ? 'share' : 'redis'),
    stop: async () => {
      stopSweeping()
      stopRefreshing()
      store.stop()
      await peers.stop()
    },
  }
}

function every(clock: Clock, periodMs: number, work: () => void): () => void {
  let cancel = () => {}
  const next = () => {
    cancel = clock.schedule(periodMs, () => {
      work()
      next()
    })
  }
  next()
  return () => cancel()
}
