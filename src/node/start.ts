import { availableParallelism, hostname } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { LlamaEngine } from '../engines/llama-engine.ts'
import type { ModelStore } from '../engines/model-store.ts'
import { MachineDevices } from './devices/machine-devices.ts'
import { coresOf } from './devices/memory-group.ts'
import { PageCache } from './devices/page-cache.ts'
import { EngineMemory } from './engine-memory.ts'
import { Footprints } from './footprints.ts'
import { NodeService } from './service.ts'

export interface NodeOptions {
  readonly config: Config['engines']
  readonly store: ModelStore
  readonly engine: () => Promise<LlamaEngine>
  readonly socketDirectory: string
  /** Remembers what models took. */
  readonly footprintsPath: string
  readonly clock: Clock
  readonly log: Logger
}

export function startNode({ config, footprintsPath, ...parts }: NodeOptions): NodeService {
  const nodeId = hostname()
  const { clock, log } = parts
  const { memoryLimit, nvmlLibrary } = config
  const devices = new MachineDevices({ nodeId, memoryLimit, nvmlLibrary, clock, log })
  return new NodeService({
    ...parts,
    nodeId,
    devices,
    pageCache: new PageCache(clock),
    memory: new EngineMemory(devices, new Footprints(footprintsPath, log)),
    threads: config.threads ?? coresOf(availableParallelism()),
    startTimeoutMs: config.startTimeout,
    probeIntervalMs: config.probeInterval,
    probeTimeoutMs: config.probeTimeout,
    stuckTimeoutMs: config.stuckTimeout,
  })
}
