import { availableParallelism, hostname } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import { type Metrics, noMetrics } from '../core/metrics.ts'
import type { LlamaEngine } from '../engines/llama-engine.ts'
import type { TrialDevice } from '../engines/llama-trial.ts'
import type { ManagedKind, ManagedProgram } from '../engines/managed-program.ts'
import type { ModelStore } from '../engines/model-store.ts'
import { MachineDevices } from './devices/machine-devices.ts'
import { coresOf } from './devices/memory-group.ts'
import { PageCache } from './devices/page-cache.ts'
import { EngineMemory } from './engine-memory.ts'
import { Footprints } from './footprints.ts'
import { LocalEngines } from './local-engines.ts'
import { LocalModels } from './local-models.ts'
import { NodeService } from './service.ts'

export interface NodeOptions {
  readonly config: Config['engines']
  /** By default the name of the machine. */
  readonly nodeId?: string | undefined
  readonly perModel: Config['models']['perModel']
  readonly store: ModelStore
  readonly llamaServer: (devices: readonly TrialDevice[]) => Promise<LlamaEngine>
  readonly managed: (kind: ManagedKind) => Promise<ManagedProgram>
  readonly socketDirectory: string
  readonly cacheDirectory: string
  /** Remembers what models took. */
  readonly footprintsPath: string
  readonly clock: Clock
  readonly log: Logger
  /** None by default. */
  readonly metrics?: Metrics
}

export function startNode(options: NodeOptions): NodeService {
  const {
    config,
    nodeId = hostname(),
    perModel,
    store,
    footprintsPath,
    metrics = noMetrics,
    ...parts
  } = options
  const { clock, log } = parts
  const { threads, startTimeout: startTimeoutMs, memoryLimit, nvmlLibrary } = config
  const pageCache = new PageCache(clock)
  const models = new LocalModels(store, perModel, pageCache, clock)
  const devices = new MachineDevices({ nodeId, memoryLimit, nvmlLibrary, clock, log })
  const cores = coresOf(availableParallelism())
  return new NodeService({
    models,
    engines: new LocalEngines({ ...parts, models, threads, cores, startTimeoutMs }),
    ...{ nodeId, devices, pageCache },
    memory: new EngineMemory(devices, new Footprints(footprintsPath, log)),
    probeIntervalMs: config.probeInterval,
    probeTimeoutMs: config.probeTimeout,
    stuckTimeoutMs: config.stuckTimeout,
    ...{ clock, metrics },
  })
}
