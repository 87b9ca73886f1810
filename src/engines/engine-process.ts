import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { type Guardian, guard } from '../guardian.ts'
import type { EngineEnd } from './engine.ts'
import type { Environment } from './llama-command.ts'
import { LlamaOutput, tellingLine } from './llama-output.ts'

export interface EngineCommand {
  /** The program and its arguments. No secret is in it: everybody on the machine can read it. */
  readonly line: readonly [program: string, ...args: string[]]
  /** All that it sees of the environment. */
  readonly environment: Environment
  /**
   * Memory of its own beyond which its allocations fail: a request that drives it there is refused by the engine, and
   * the machine is spared. Undefined: no bound.
   */
  readonly memoryMaxBytes?: number | undefined
  /** Whether a line that it prints while it serves can hold nothing of a request; by default llama.cpp's remarks. */
  readonly isHarmless?: ((line: string) => boolean) | undefined
  /** Its key, which some engines print at their start. */
  readonly secret: string
  /** Removed when it has ended. */
  readonly files: readonly string[]
}

export interface EngineProcess {
  readonly pid: number
  readonly output: LlamaOutput
  readonly exited: Promise<EngineEnd>
  end(graceMs: number): Promise<void>
}

export interface ReadyOptions {
  readonly isReady: () => Promise<boolean>
  readonly startTimeoutMs: number
  /** What callers know the model as, and where it really lies. */
  readonly alias: string
  readonly modelPath: string
  readonly clock: Clock
  readonly signal?: AbortSignal | undefined
}

/** The system's limit for the path of a Unix socket, without the closing zero byte. */
const SOCKET_PATH_BYTES_MAX = 107

const POLL_MS = 50

/** A process can end while something that it started still holds its output open. */
const OUTPUT_END_MS = 500

/** Starts a process that ends when this one does, even by SIGKILL. @throws HelixError `engine_failed` */
export function launchEngine(
  command: EngineCommand,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): EngineProcess {
  const [program] = command.line
  const child = spawn('/bin/sh', boundedCommand(command), {
    // llama.cpp also looks for libraries to load in the working directory: it must be one that nobody writes to.
    cwd: '/',
    // Out of our process group, so that a Ctrl-C in the terminal ends it by us, in order.
    detached: true,
    env: command.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { pid } = child
  const output = new LlamaOutput((line) => log.debug('engine output', { pid, line }), command)
  child.stdout.setEncoding('utf8').on('data', output.reader())
  child.stderr.setEncoding('utf8').on('data', output.reader())
  child.on('error', (cause) => log.error('engine process', { pid, path: program, cause: String(cause) }))
  if (pid === undefined) {
    throw new HelixError('engine_failed', 'The engine could not be started.', {
      internal: `${program} could not be started: is it an executable for this machine?`,
    })
  }
  const guardian = guardOf(child, pid)
  const exited = untilExit(child, clock).then(async ({ code, signal }) => {
    guardian.release()
    // Whatever it started; some engines are many processes, and those hold the devices.
    signalGroup(pid, 'SIGKILL')
    // Only an engine that ends in order removes its socket itself.
    await Promise.all(command.files.map((path) => rm(path, { force: true })))
    return { code, signal, lastLines: output.lastLines }
  })
  return { pid, output, exited, end: (graceMs) => end({ child, pid, exited }, graceMs, clock) }
}

/**
 * Returns when the engine says that it is ready.
 * @throws HelixError `engine_failed`, where the process ended by itself with its `EngineEnd` as `cause`; the signal's
 *   reason when it aborts
 */
export async function untilReady(running: EngineProcess, options: ReadyOptions): Promise<void> {
  const { clock, startTimeoutMs, signal } = options
  const deadlineMs = clock.monotonic() + startTimeoutMs
  let ended: EngineEnd | undefined
  void running.exited.then((end) => {
    ended = end
  })
  while (!(await options.isReady())) {
    if (ended) throw endedEarly(ended, options)
    if (clock.monotonic() > deadlineMs) throw tooSlow(running, options)
    await Promise.race([delay(clock, POLL_MS, signal), running.exited])
    signal?.throwIfAborted()
  }
}

/**
 * A free path for a socket in a folder that is made for nobody but us.
 * @throws HelixError `invalid_configuration` when the path is too long for the system
 */
export async function reserveSocketPath(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  // It may have been there before, with other rights.
  await chmod(directory, 0o700)
  const path = join(resolve(directory), `${randomBytes(6).toString('base64url')}.sock`)
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path
  throw new HelixError(
    'invalid_configuration',
    `The path of an engine's socket, ${path}, is longer than the ${SOCKET_PATH_BYTES_MAX} bytes that the system ` +
      'allows. Choose a shorter state directory.',
  )
}

/** The shell sets the bound and becomes the engine: same process, same id. */
function boundedCommand({ line, memoryMaxBytes }: EngineCommand): string[] {
  const bound = memoryMaxBytes === undefined ? '' : `ulimit -d ${Math.ceil(memoryMaxBytes / 1024)} && `
  return ['-c', `unset PWD OLDPWD; ${bound}exec "$@"`, 'sh', ...line]
}

/** An engine that nobody guards could outlive us: it is not left running. */
function guardOf(child: ChildProcess, pid: number): Guardian {
  try {
    // The negative id is that of the group.
    return guard(-pid, 'SIGKILL')
  } catch (cause) {
    child.kill('SIGKILL')
    throw cause
  }
}

function untilExit(child: ChildProcess, clock: Clock): Promise<Omit<EngineEnd, 'lastLines'>> {
  return new Promise((resolve) => {
    const closed = new Promise<void>((done) => child.once('close', () => done()))
    child.once('exit', (code, signal) => {
      void Promise.race([closed, delay(clock, OUTPUT_END_MS)]).then(() =>
        resolve({ code: code ?? undefined, signal: signal ?? undefined }),
      )
    })
  })
}

/** The failure of a process that ended by itself before it served anybody. */
export function endedEarly(exit: EngineEnd, options: Pick<ReadyOptions, 'alias' | 'modelPath'>): HelixError {
  const reason = tellingLine(exit.lastLines) ?? 'it printed nothing'
  const how = exit.signal ? `ended by ${exit.signal}` : `exit code ${exit.code}`
  // The caller learns what is wrong with the model, not where it lies.
  const shown = reason.replaceAll(options.modelPath, options.alias)
  return new HelixError('engine_failed', `The engine could not load ${options.alias}: ${shown} (${how}).`, {
    internal: `engine ${how} while loading ${options.modelPath}:\n${exit.lastLines.join('\n')}`,
    cause: exit,
  })
}

function tooSlow(running: EngineProcess, { alias, startTimeoutMs }: ReadyOptions): HelixError {
  return new HelixError(
    'engine_failed',
    `The engine did not load ${alias} within ${Math.round(startTimeoutMs / 1000)} s.`,
    { internal: `engine ${running.pid} was not ready in time:\n${running.output.lastLines.join('\n')}` },
  )
}

type Ending = Pick<EngineProcess, 'pid' | 'exited'> & { readonly child: ChildProcess }

async function end({ child, pid, exited }: Ending, graceMs: number, clock: Clock): Promise<void> {
  const hasEnded = exited.then(() => true)
  const runs = () => child.exitCode === null && child.signalCode === null
  if (graceMs > 0) {
    if (runs()) signalGroup(pid, 'SIGTERM')
    if (await Promise.race([hasEnded, delay(clock, graceMs).then(() => false)])) return
  }
  if (runs()) signalGroup(pid, 'SIGKILL')
  await hasEnded
}

/** The whole group: what stands on the PATH may be a script that starts the server as its child. */
function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch (cause) {
    const isGone = cause instanceof Error && 'code' in cause && cause.code === 'ESRCH'
    if (!isGone) throw cause
  }
}
