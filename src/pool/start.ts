import type { Config, UpstreamConfig } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Tracer } from '../core/tracing.ts'
import { placementStrategies } from '../scheduler/placement/strategies.ts'
import type { Policy } from '../scheduler/policy.ts'
import { emptyCluster } from '../scheduler/state.ts'
import { Catalogue } from './catalogue.ts'
import { PoolController } from './controller.ts'
import { LoadTimesSeen } from './load-times.ts'
import { Membership } from './membership.ts'
import { ModelRules } from './model-rules.ts'
import type { UpstreamModel } from './model-view.ts'
import type { NodeDirectory } from './node-directory.ts'
import { PoolGauges } from './pool-gauges.ts'
import { PoolMetrics } from './pool-metrics.ts'
import { PoolService } from './service.ts'
import { Survey } from './survey.ts'

export interface PoolOptions {
  readonly config: Pick<Config, 'models' | 'engines' | 'upstreams' | 'scheduler'>
  readonly nodes: NodeDirectory
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
  readonly tracer?: Tracer
  /** Number of the first instance, where others have numbered some before; 1 by default. */
  readonly firstInstance?: number
}

export interface RunningPool {
  readonly pool: PoolService
  /** Decides nothing any more; what runs goes on, for whoever leads next. */
  leave(): void
  /** Ends every engine. */
  stop(): Promise<void>
}

/** The pool, once the nodes that are there have said what they have. */
export async function startPool(options: PoolOptions): Promise<RunningPool> {
  const { config, nodes, clock, log, metrics, tracer } = options
  const rules = new ModelRules(config.models, config.scheduler.groups)
  const loadTimes = new LoadTimesSeen()
  const catalogue = new Catalogue({ nodes, rules, loadTimes })
  const poolMetrics = new PoolMetrics(metrics, config.scheduler.strategy)
  const parts = { nodes, clock, log, tracer, loadTimes, metrics: poolMetrics, policy: policyOf(config) }
  const controller = new PoolController(parts, {
    ...emptyCluster([]),
    nextInstance: options.firstInstance ?? 1,
  })
  const membership = new Membership({
    ...{ nodes, catalogue, rules, clock, log, effects: controller.effects },
    post: (event) => controller.post(event),
    knows: (id) => controller.state.instances.some((instance) => instance.id === id),
  })
  await membership.start()
  const survey = new Survey({ nodes, catalogue, rules, controller, clock, log })
  survey.start()
  const gauges = new PoolGauges({ metrics, nodes, pool: controller, reports: membership.reports })
  gauges.start()
  const upstreams = config.upstreams.flatMap(upstreamModels)
  const pool = new PoolService({ nodes, catalogue, controller, membership, clock, upstreams })
  const leave = () => {
    gauges.stop()
    survey.stop()
    membership.stop()
    controller.leave()
  }
  const stop = async () => {
    leave()
    await controller.stop()
  }
  return { pool, leave, stop }
}

const CRASH_PAUSE_MS = 500
const CRASH_PAUSE_MAX_MS = 10_000
const CRASH_WINDOW_MS = 600_000
/** Over the node's own deadline, so that this one acts only when the node does not. */
const TRANSITION_MARGIN_MS = 10_000
/** Moves must bring this many times what they cost. */
const MOVES_GAIN_MIN = 1.2

/** The settings as the scheduler reads them. */
export function policyOf({ scheduler, engines }: Pick<Config, 'scheduler' | 'engines'>): Policy {
  const transitionTimeoutMs = engines.startTimeout + TRANSITION_MARGIN_MS
  return {
    place: placementStrategies[scheduler.strategy],
    evict: {
      by: scheduler.eviction,
      residencyMinMs: scheduler.residencyMin,
      swapWaitMs: scheduler.swapWait,
    },
    defragment: {
      enabled: scheduler.defragment,
      movesMax: scheduler.defragmentMovesMax,
      gainMin: MOVES_GAIN_MIN,
      planTimeoutMs: scheduler.defragmentMovesMax * transitionTimeoutMs,
    },
    // The others are asked for where they place: what best fit packs would be spread again.
    balance: { enabled: scheduler.defragment && scheduler.strategy === 'auto', gainMin: MOVES_GAIN_MIN },
    prefetch: {
      enabled: scheduler.prefetch,
      wasteMax: scheduler.prefetchWasteMax,
      precisionMin: scheduler.prefetchPrecisionMin,
    },
    scale: { busyMax: scheduler.replicaBusyMax, downAfterMs: scheduler.replicaIdle },
    transitionTimeoutMs,
    crashPauseMs: CRASH_PAUSE_MS,
    crashPauseMaxMs: CRASH_PAUSE_MAX_MS,
    crashWindowMs: CRASH_WINDOW_MS,
    crashesMax: engines.crashesMax,
  }
}

function upstreamModels(upstream: UpstreamConfig): UpstreamModel[] {
  const named = upstream.models.map((model) =>
    typeof model === 'string' ? { name: model, as: model } : model,
  )
  return named.map(({ name: model, as: engineModel }) => ({
    upstream: upstream.name,
    replica: {
      id: `upstream:${upstream.name}:${model}`,
      model,
      engineModel,
      engine: 'upstream',
      // Their addresses are given with the version in the path, as SDKs have them; ours carry it in the route.
      address: { url: upstream.url.replace(/\/v1\/?$/, ''), socketPath: undefined, apiKey: upstream.apiKey },
      slots: upstream.slots,
      contextLength: undefined,
      supportsTools: undefined,
      continues: upstream.continues,
      vocabularySize: undefined,
      revision: JSON.stringify([upstream.url, engineModel]),
      weight: upstream.weight,
      fallback: upstream.fallback,
    },
  }))
}
