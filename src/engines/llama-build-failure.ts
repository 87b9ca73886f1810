import { HelixError } from '../core/errors.ts'
import { type CommandResult, describeFailure } from './llama-command.ts'

/** Measured 330 MB at the peak, npm's own cache not counted. */
export const BUILD_BYTES = 600e6

/**
 * The error for a step of the build that failed: `disk_full` where that is what the tool complains about, else
 * `engine_build_failed` with `message` for the user and the tool's own words for the log.
 */
export function buildFailure(
  message: string,
  result: CommandResult,
  said = describeFailure(result),
): HelixError {
  if (/ENOSPC|EDQUOT|no space left on device|disk quota exceeded/i.test(result.stdout + result.stderr)) {
    return buildDiskFull(said)
  }
  return new HelixError('engine_build_failed', message, { internal: said })
}

export function buildDiskFull(internal: string, cause?: unknown): HelixError {
  return new HelixError(
    'disk_full',
    `The disk has too little room to build the engine: ${BUILD_BYTES / 1e6} MB are needed for a while, 50 MB for ` +
      'good. Free some space and run the same command again.',
    { internal, cause },
  )
}

/** For what went wrong with our own files; anything else comes back as it is. */
export function asBuildFailure(cause: unknown, cacheDirectory: string): unknown {
  if (!(cause instanceof Error) || !('syscall' in cause) || !('code' in cause)) return cause
  if (cause.code === 'ENOSPC' || cause.code === 'EDQUOT') return buildDiskFull(cause.message, cause)
  return new HelixError(
    'engine_build_failed',
    `The engine could not be built in ${cacheDirectory}: ${cause.message}. Check that the folder can be written.`,
    { cause },
  )
}
