import { hostname } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { LlamaEngine } from '../engines/llama-engine.ts'
import type { ModelStore } from '../engines/model-store.ts'
import { memoryForModels } from './memory.ts'
import { NodeService } from './service.ts'

export interface NodeOptions {
  readonly config: Config['engines']
  /** By default the name of the machine. */
  readonly nodeId: string | undefined
  readonly store: ModelStore
  readonly engine: () => Promise<LlamaEngine>
  readonly socketDirectory: string
  readonly clock: Clock
  readonly log: Logger
}

export function startNode({ config, nodeId = hostname(), ...parts }: NodeOptions): NodeService {
  return new NodeService({
    ...parts,
    nodeId,
    memoryBytes: memoryForModels(config.memoryLimit),
    threads: config.threads,
    startTimeoutMs: config.startTimeout,
    probeIntervalMs: config.probeInterval,
    probeTimeoutMs: config.probeTimeout,
    stuckTimeoutMs: config.stuckTimeout,
  })
}
