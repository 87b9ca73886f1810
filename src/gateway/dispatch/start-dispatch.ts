import type { Config } from '../../config/schema.ts'
import type { PoolClient } from '../../contracts/pool.ts'
import type { TlsFiles } from '../../contracts/rpc-transport.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import { Canary } from '../canary/canary.ts'
import { Dispatch } from './dispatch.ts'
import { EngineClients } from './engine-client.ts'
import { Router } from './router.ts'
import { UpstreamHealth } from './upstream-health.ts'

export interface DispatchParts {
  readonly config: Config['gateway']
  readonly scheduler: Pick<Config['scheduler'], 'fairness'>
  readonly pool: PoolClient
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log: Logger
  readonly tracesUpstreams: boolean
  /** For engines of other machines. */
  readonly tls?: TlsFiles | undefined
}

/** Dispatch with its router and its connections to engines, which follow the pool's table of replicas. */
export function startDispatch(parts: DispatchParts): {
  readonly dispatch: Dispatch
  stop(): Promise<void>
} {
  const { config, scheduler, pool, clock, metrics, log, tls, tracesUpstreams } = parts
  const clients = new EngineClients(tls)
  const upstreams = new UpstreamHealth(clock, metrics)
  const unwatch = pool.watchReplicas((replicas) => {
    clients.keepOnly(replicas)
    upstreams.replace(replicas)
  })
  const router = new Router({
    usable: (replica) => upstreams.usable(replica),
    pool,
    clock,
    metrics,
    fairness: scheduler.fairness,
    queueMax: config.queueMax,
    queueTimeoutMs: config.queueTimeout,
    loadWaitMs: config.loadWait,
  })
  const dispatch = new Dispatch({
    router,
    upstreams,
    clients,
    clock,
    firstByteTimeoutMs: config.firstByteTimeout,
    stallTimeoutMs: config.stallTimeout,
    requestDeadlineMs: config.requestDeadline,
    waitNoticeMs: config.waitNotice,
    tracesUpstreams,
  })
  const canary = new Canary({ router, clients, pool, clock, metrics, log, intervalMs: config.canaryInterval })
  const stop = async () => {
    unwatch()
    canary.stop()
    router.stop()
    await clients.stop()
  }
  return { dispatch, stop }
}
