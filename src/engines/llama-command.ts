import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

export type Environment = Readonly<Record<string, string>>

export interface CommandOptions {
  /** Instead of the variables of this process. */
  readonly environment?: Environment | undefined
  readonly directory?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** The command is killed when it takes longer. */
  readonly timeoutMs?: number | undefined
}

export interface CommandResult {
  /** Undefined when a signal ended it, or when it could not be started. */
  readonly code: number | undefined
  readonly endedBy: NodeJS.Signals | undefined
  readonly stdout: string
  readonly stderr: string
}

/** More than any tool here says when it works; what exceeds it is dropped from the front. */
const OUTPUT_CHARACTERS_MAX = 1_000_000

/**
 * Runs a program to its end. That it fails is an answer, not an exception.
 * @throws the signal's reason when it aborts; the program and its children are killed then
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  options.signal?.throwIfAborted()
  const result = await runToEnd(command, args, options)
  options.signal?.throwIfAborted()
  return result
}

/** The path of an executable file as a shell would find it, or undefined. */
export async function findCommand(name: string, searchPath: string): Promise<string | undefined> {
  for (const directory of searchPath.split(delimiter)) {
    // An empty entry means the working directory to a shell: nobody wants an engine from there.
    const path = join(directory, name)
    if (directory !== '' && (await isExecutable(path))) return path
  }
  return undefined
}

export async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  )
}

/** Why it failed, in one line for people. */
export function describeFailure(result: CommandResult): string {
  const lastLine = `${result.stdout}\n${result.stderr}`.trim().split('\n').at(-1)?.trim() ?? ''
  const how = result.endedBy ? `ended by ${result.endedBy}` : `exit code ${result.code ?? 'unknown'}`
  return lastLine === '' ? how : `${how}: ${lastLine}`
}

function runToEnd(command: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  return new Promise((resolve) => {
    // Its own process group, so that a compiler's helpers end together with it.
    const child = spawn(command, args, {
      cwd: options.directory,
      env: options.environment,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const stdout = new Tail()
    const stderr = new Tail()
    child.stdout.setEncoding('utf8').on('data', (text: string) => stdout.add(text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => stderr.add(text))
    const kill = () => {
      if (child.pid !== undefined) killGroup(child.pid)
    }
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(kill, options.timeoutMs)
    options.signal?.addEventListener('abort', kill, { once: true })
    const finish = (result: CommandResult) => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', kill)
      resolve(result)
    }
    child.once('error', (cause) =>
      finish({ code: undefined, endedBy: undefined, stdout: stdout.text, stderr: cause.message }),
    )
    child.once('close', (code, endedBy) =>
      finish({
        code: code ?? undefined,
        endedBy: endedBy ?? undefined,
        stdout: stdout.text,
        stderr: stderr.text,
      }),
    )
  })
}

/** Also when its leader has ended: whatever it started may live on and hold the output open. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (cause) {
    const isGone = cause instanceof Error && 'code' in cause && cause.code === 'ESRCH'
    if (!isGone) throw cause
  }
}

class Tail {
  text = ''

  add(more: string): void {
    this.text = (this.text + more).slice(-OUTPUT_CHARACTERS_MAX)
  }
}
