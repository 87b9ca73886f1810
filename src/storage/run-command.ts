import { execFile } from 'node:child_process'

/** Another user of this machine to run as; only root can. */
export interface SystemUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

export interface CommandResult {
  readonly succeeded: boolean
  readonly output: string
  /** What it wrote to standard error, or why it could not be started. Empty when it succeeded in silence. */
  readonly complaint: string
}

export interface CommandOptions {
  /** Undefined: as the caller itself. */
  readonly user?: SystemUser | undefined
  /** Undefined: the environment of this process. */
  readonly environment?: Readonly<Record<string, string>> | undefined
  /** Ends the command early; that is a failure of it like another. */
  readonly signal?: AbortSignal | undefined
}

/** Runs a command that writes little to its end. A command that fails or is missing is a result, not an exception. */
export function runCommand(
  command: string,
  parameters: readonly string[],
  { user, environment, signal }: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    // In `/`, because another user may not be allowed to enter the directory that this process happens to be in.
    const options = {
      cwd: '/',
      ...identity(user),
      ...(environment && { env: { ...environment } }),
      ...(signal && { signal }),
    }
    execFile(command, parameters, options, (error, output, errorOutput) => {
      const complaint = errorOutput.trim() || (error?.message ?? '')
      resolve({ succeeded: error === null, output: output.trim(), complaint })
    })
  })
}

/** The part of the options of `spawn` that says as whom. */
export function identity(user: SystemUser | undefined): { uid?: number; gid?: number } {
  return user ? { uid: user.uid, gid: user.gid } : {}
}
