import { join } from 'node:path'
import type { Settings } from '../config/load.ts'
import type { Places } from '../config/places.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { ModelStore } from '../engines/model-store.ts'
import type { NodeService } from '../node/service.ts'
import { type NodeOptions, startNode } from '../node/start.ts'
import { systemClock } from '../system.ts'
import { openModelStore } from './model-store.ts'

export interface OpenNodeRequest extends Pick<NodeOptions, 'llamaServer' | 'managed'> {
  readonly settings: Settings
  readonly places: Places
  readonly metrics: Metrics
  readonly log: Logger
  /** Stops what was started. */
  readonly lifecycle: Lifecycle
}

/** The engines and the models of this machine. */
export async function openNode(
  request: OpenNodeRequest,
): Promise<{ readonly node: NodeService; readonly store: ModelStore }> {
  const { settings, places, metrics, log, lifecycle, llamaServer, managed } = request
  const { engines, models, rpc } = settings.config
  const store = await openModelStore(settings, places, log)
  const node = startNode({
    ...{ config: engines, nodeId: rpc.nodeId, perModel: models.perModel, store, llamaServer, managed },
    socketDirectory: places.runtime,
    cacheDirectory: join(places.engines, 'managed'),
    footprintsPath: places.footprints,
    ...{ clock: systemClock, log, metrics },
  })
  lifecycle.add('node', () => node.close())
  return { node, store }
}
