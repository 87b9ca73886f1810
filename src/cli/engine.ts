import type { Settings } from '../config/load.ts'
import type { Places } from '../config/places.ts'
import type { Logger } from '../core/log.ts'
import type { OnProgress } from '../core/progress.ts'
import type { EnsureOptions } from '../engines/llama-locate.ts'
import { systemClock } from '../system.ts'

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
