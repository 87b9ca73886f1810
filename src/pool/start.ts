import type { Config, UpstreamConfig } from '../config/schema.ts'
import type { DeviceReport, InstanceShape, NodeClient } from '../contracts/node.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import { firstFit } from '../scheduler/placement/first-fit.ts'
import type { Policy } from '../scheduler/policy.ts'
import { type Device, emptyCluster } from '../scheduler/state.ts'
import { PoolController } from './controller.ts'
import { PoolService, type UpstreamModel } from './service.ts'

export interface PoolOptions {
  readonly config: Pick<Config, 'models' | 'engines' | 'upstreams'>
  readonly node: NodeClient
  readonly clock: Clock
  readonly log: Logger
}

export interface RunningPool {
  readonly pool: PoolService
  stop(): Promise<void>
}

const CRASH_PAUSE_MS = 500
const CRASH_PAUSE_MAX_MS = 10_000
const CRASH_WINDOW_MS = 600_000
/** Over the node's own deadline, so that this one acts only when the node does not. */
const TRANSITION_MARGIN_MS = 10_000

export async function startPool({ config, node, clock, log }: PoolOptions): Promise<RunningPool> {
  const { models, engines, upstreams } = config
  const policy: Policy = {
    place: firstFit,
    evict: { by: 'lru', residencyMinMs: 0, swapWaitMs: 0 },
    defragment: { enabled: false, movesMax: 0, gainMin: 1, planTimeoutMs: 0 },
    prefetch: { enabled: false, wasteMax: 0, precisionMin: 1 },
    scale: { busyMax: 1, downAfterMs: 0 },
    transitionTimeoutMs: engines.startTimeout + TRANSITION_MARGIN_MS,
    crashPauseMs: CRASH_PAUSE_MS,
    crashPauseMaxMs: CRASH_PAUSE_MAX_MS,
    crashWindowMs: CRASH_WINDOW_MS,
    crashesMax: engines.crashesMax,
  }
  const controller = new PoolController(
    { node, policy, clock, log },
    emptyCluster((await node.devices()).map((device) => toDevice(device, node.nodeId))),
  )
  const pool = new PoolService({
    node,
    controller,
    clock,
    upstreams: upstreams.flatMap(upstreamModels),
    shapeOf: (model, trainedContextLength) => shapeOf(models, model, trainedContextLength),
    keepAliveMsOf: (model) => models.perModel[model]?.keepAlive ?? models.keepAlive,
  })
  return { pool, stop: () => controller.stop() }
}

function shapeOf(
  models: Config['models'],
  model: string,
  trainedContextLength: number | undefined,
): InstanceShape {
  const own = models.perModel[model]
  const wanted = own?.contextLength ?? models.contextLength
  return {
    slots: own?.slots ?? models.slots,
    // Beyond what it was trained for a model talks nonsense.
    contextLength: Math.min(wanted, trainedContextLength ?? wanted),
    chatTemplate: own?.chatTemplate,
    engine: undefined,
  }
}

/** As the scheduler sees it. */
function toDevice(
  { id, kind, totalBytes, foreignBytes, health, clique }: DeviceReport,
  nodeId: string,
): Device {
  return { id, nodeId, kind, totalBytes, foreignBytes, health, clique, group: undefined }
}

function upstreamModels(upstream: UpstreamConfig): UpstreamModel[] {
  return upstream.models.map((model) => ({
    upstream: upstream.name,
    replica: {
      id: `upstream:${upstream.name}:${model}`,
      model,
      engineModel: model,
      engine: 'upstream',
      // Their addresses are given with the version in the path, as SDKs have them; ours carry it in the route.
      address: { url: upstream.url.replace(/\/v1\/?$/, ''), socketPath: undefined, apiKey: upstream.apiKey },
      slots: upstream.slots,
      contextLength: undefined,
      supportsTools: undefined,
      continues: upstream.continues,
      vocabularySize: undefined,
      revision: JSON.stringify([upstream.url, model]),
    },
  }))
}
