import { availableParallelism, hostname } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { LlamaEngine } from '../engines/llama-engine.ts'
import type { TrialDevice } from '../engines/llama-trial.ts'
import type { ManagedKind, ManagedProgram } from '../engines/managed-program.ts'
import type { ModelStore } from '../engines/model-store.ts'
import { LocalEngines } from './local-engines.ts'
import { LocalModels } from './local-models.ts'
import { memoryForModels } from './memory.ts'
import { NodeService } from './service.ts'

export interface NodeOptions {
  readonly config: Config['engines']
  readonly perModel: Config['models']['perModel']
  readonly store: ModelStore
  readonly llamaServer: (devices: readonly TrialDevice[]) => Promise<LlamaEngine>
  readonly managed: (kind: ManagedKind) => Promise<ManagedProgram>
  readonly socketDirectory: string
  readonly cacheDirectory: string
  readonly clock: Clock
  readonly log: Logger
}

export function startNode({ config, perModel, store, ...parts }: NodeOptions): NodeService {
  const models = new LocalModels(store, perModel)
  const { threads, startTimeout: startTimeoutMs } = config
  const cores = availableParallelism()
  return new NodeService({
    models,
    engines: new LocalEngines({ ...parts, models, threads, cores, startTimeoutMs }),
    nodeId: hostname(),
    memoryBytes: memoryForModels(config.memoryLimit),
    probeIntervalMs: config.probeInterval,
    probeTimeoutMs: config.probeTimeout,
    stuckTimeoutMs: config.stuckTimeout,
    clock: parts.clock,
  })
}
