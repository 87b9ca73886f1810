import type { Settings } from '../config/load.ts'
import type { Places } from '../config/places.ts'
import type { Logger } from '../core/log.ts'
import type { OnProgress } from '../core/progress.ts'
import { type EnsureOptions, ensureLlamaServer } from '../engines/llama-locate.ts'
import { findManagedProgram } from '../engines/managed-program.ts'
import type { NodeOptions } from '../node/start.ts'
import { systemClock } from '../system.ts'

export interface EngineWork {
  readonly log: Logger
  readonly onProgress: OnProgress
  readonly signal: AbortSignal
}

/** How a node gets its engines, each when the first model needs it. */
export function engineFinders(
  settings: Settings,
  places: Places,
  work: EngineWork,
): Pick<NodeOptions, 'llamaServer' | 'managed'> {
  return {
    llamaServer: (devices) => ensureLlamaServer({ ...engineOptions(settings, places, work), devices }),
    managed: (kind) =>
      findManagedProgram(kind, {
        configured: settings.config.engines[kind],
        searchPath: settings.environment.searchPath,
        signal: work.signal,
      }),
  }
}

/** What finding or building the engine of this installation needs. */
export function engineOptions(
  { config, environment }: Settings,
  places: Places,
  parts: { readonly log: Logger; readonly onProgress: OnProgress; readonly signal: AbortSignal | undefined },
): EnsureOptions {
  return {
    configuredPath: config.engines.llamaServer,
    searchPath: environment.searchPath,
    cacheDirectory: places.engines,
    compiler: environment.compiler,
    cudaBackend: config.engines.cudaBackend,
    cudaToolkit: config.engines.cudaToolkit,
    clock: systemClock,
    ...parts,
  }
}
