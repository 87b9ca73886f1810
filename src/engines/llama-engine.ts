/** A `llama-server` on this machine. */
export interface LlamaEngine {
  readonly origin: 'configured' | 'path' | 'built'
  readonly serverPath: string
  /** Tells the memory that a model will need; ready-made engines often come without. */
  readonly fitParamsPath?: string | undefined
  /** What lets it compute on cards, where that was added to it: `cuda-13`, `cuda-12`, `compiled`, `named`. */
  readonly backend?: string | undefined
  /** Where its shared libraries lie, when it might not find them by itself; several folders as in a search path. */
  readonly libraryDirectory?: string | undefined
  /** In its own words. */
  readonly version?: string | undefined
  /** The names of our patches that are in it; none where it is no build of ours. */
  readonly patches: readonly string[]
}

/** Beside the programs on every system that we run on. */
const SYSTEM_PATH = '/usr/bin:/bin'

/**
 * What an engine may know of the environment: nothing of ours. It parses files from strangers, and needs none of
 * our secrets for that.
 */
export function engineEnvironment(engine: LlamaEngine): Record<string, string> {
  return {
    PATH: SYSTEM_PATH,
    HOME: '/nonexistent',
    // Else a crash starts a debugger, whose report holds the arguments of functions.
    GGML_NO_BACKTRACE: '1',
    ...(engine.libraryDirectory ? { LD_LIBRARY_PATH: engine.libraryDirectory } : {}),
  }
}
