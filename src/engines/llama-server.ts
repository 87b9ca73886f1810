import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { EngineAddress } from '../contracts/pool.ts'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { type Guardian, guard } from '../guardian.ts'
import { type EngineShape, llamaServerArguments } from './llama-arguments.ts'
import type { Environment } from './llama-command.ts'
import { engineEnvironment, type LlamaEngine } from './llama-engine.ts'
import { type LlamaFacts, readLlamaFacts } from './llama-facts.ts'
import { LlamaOutput, tellingLine } from './llama-output.ts'
import { askEngine, type LlamaSocket } from './llama-request.ts'

export interface StartOptions extends EngineShape {
  readonly engine: LlamaEngine
  readonly modelPath: string
  /** Made if need be, for nobody but us. The paths of sockets are limited to 107 bytes: keep it short. */
  readonly socketDirectory: string
  readonly startTimeoutMs: number
  /**
   * Memory of its own beyond which its allocations fail: a request that drives it there is refused by the engine, and
   * the machine is spared. Undefined: no bound.
   */
  readonly memoryMaxBytes?: number | undefined
  /** Which devices it may use, such as CUDA_VISIBLE_DEVICES. It sees no other variable of ours. */
  readonly environment?: Environment | undefined
  readonly clock: Clock
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
}

/** A running `llama-server` that has loaded its model. */
export interface LlamaServer extends LlamaFacts {
  readonly pid: number
  readonly address: EngineAddress & LlamaSocket
  /** Resolves when the process has ended, however that came about. */
  readonly exited: Promise<LlamaExit>
  /** Whether it answers within that time. */
  isAlive(timeoutMs: number): Promise<boolean>
  /** Whether its generating loop comes round within that time; it may be stuck while the rest still answers. */
  isWorking(timeoutMs: number): Promise<boolean>
  /** Asks it to end, insists after `graceMs`; returns when the process and its socket are gone. */
  stop(graceMs: number): Promise<void>
}

export interface LlamaExit {
  readonly code: number | undefined
  readonly signal: NodeJS.Signals | undefined
  /** What it printed last. Holds nothing of what users wrote. */
  readonly lastLines: readonly string[]
}

/** The system's limit for the path of a Unix socket, without the closing zero byte. */
const SOCKET_PATH_BYTES_MAX = 107

const POLL_MS = 50
const ANSWER_TIMEOUT_MS = 2_000

/** A process can end while something that it started still holds its output open. */
const OUTPUT_END_MS = 500

/**
 * Starts one process for one model and returns when it is ready to generate. Whoever may enter `socketDirectory`
 * and knows the key can use it; both are made for us alone. It ends when this process does, even by SIGKILL.
 * @throws HelixError `engine_failed`, where the process ended by itself with its `LlamaExit` as `cause`;
 *   `invalid_configuration` (socket path too long); the signal's reason when it aborts
 */
export async function startLlamaServer(options: StartOptions): Promise<LlamaServer> {
  options.signal?.throwIfAborted()
  const socketPath = await reserveSocketPath(options.socketDirectory)
  const socket: LlamaSocket = { socketPath, apiKey: randomBytes(24).toString('base64url') }
  const running = launch(options, socket)
  try {
    await untilReady(running, socket, options)
    running.output.beginServing()
    const facts = await readLlamaFacts(socket, ANSWER_TIMEOUT_MS)
    options.log.info('engine started', { pid: running.pid, alias: options.alias, ...facts })
    return {
      ...facts,
      pid: running.pid,
      address: { url: 'http://localhost', ...socket },
      exited: running.exited,
      isAlive: (timeoutMs) => answers(socket, '/health', timeoutMs),
      isWorking: (timeoutMs) => answers(socket, '/slots', timeoutMs),
      stop: (graceMs) => end(running, graceMs, options.clock),
    }
  } catch (cause) {
    await end(running, 0, options.clock)
    throw cause
  }
}

async function reserveSocketPath(directory: string): Promise<string> {
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

interface EngineProcess {
  readonly pid: number
  readonly child: ChildProcess
  readonly output: LlamaOutput
  readonly exited: Promise<LlamaExit>
}

function launch(options: StartOptions, socket: LlamaSocket): EngineProcess {
  const { engine, log, clock } = options
  const child = spawn(
    '/bin/sh',
    boundedCommand(options.memoryMaxBytes, [
      engine.serverPath,
      ...llamaServerArguments(options, resolve(options.modelPath), socket.socketPath),
    ]),
    {
      // llama.cpp also looks for libraries to load in the working directory: it must be one that nobody writes to.
      cwd: '/',
      // Out of our process group, so that a Ctrl-C in the terminal ends it by us, in order.
      detached: true,
      env: { ...engineEnvironment(engine), ...options.environment, LLAMA_API_KEY: socket.apiKey },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  const { pid } = child
  const output = new LlamaOutput((line) => log.debug('engine output', { pid, line }))
  child.stdout.setEncoding('utf8').on('data', output.reader())
  child.stderr.setEncoding('utf8').on('data', output.reader())
  child.on('error', (cause) =>
    log.error('engine process', { pid, path: engine.serverPath, cause: String(cause) }),
  )
  if (pid === undefined) {
    throw new HelixError('engine_failed', 'The engine could not be started.', {
      internal: `${engine.serverPath} could not be started: is it an executable for this machine?`,
    })
  }
  const guardian = guardOf(child, pid)
  const exited = untilExit(child, clock).then(async ({ code, signal }) => {
    guardian.release()
    // Only an engine that ends in order removes its socket itself.
    await rm(socket.socketPath, { force: true })
    return { code, signal, lastLines: output.lastLines }
  })
  return { pid, child, output, exited }
}

/** The shell sets the bound and becomes the engine: same process, same id. */
function boundedCommand(memoryMaxBytes: number | undefined, command: readonly string[]): string[] {
  const bound = memoryMaxBytes === undefined ? '' : `ulimit -d ${Math.ceil(memoryMaxBytes / 1024)} && `
  return ['-c', `unset PWD OLDPWD; ${bound}exec "$@"`, 'sh', ...command]
}

/** An engine that nobody guards could outlive us: it is not left running. */
function guardOf(child: ChildProcess, pid: number): Guardian {
  try {
    return guard(pid, 'SIGKILL')
  } catch (cause) {
    child.kill('SIGKILL')
    throw cause
  }
}

function untilExit(child: ChildProcess, clock: Clock): Promise<Omit<LlamaExit, 'lastLines'>> {
  return new Promise((resolve) => {
    const closed = new Promise<void>((done) => child.once('close', () => done()))
    child.once('exit', (code, signal) => {
      void Promise.race([closed, delay(clock, OUTPUT_END_MS)]).then(() =>
        resolve({ code: code ?? undefined, signal: signal ?? undefined }),
      )
    })
  })
}

async function untilReady(running: EngineProcess, socket: LlamaSocket, options: StartOptions): Promise<void> {
  const { clock, startTimeoutMs, signal } = options
  const deadlineMs = clock.monotonic() + startTimeoutMs
  let ended: LlamaExit | undefined
  void running.exited.then((exit) => {
    ended = exit
  })
  while (!(await answers(socket, '/health', ANSWER_TIMEOUT_MS))) {
    if (ended) throw endedEarly(ended, options)
    if (clock.monotonic() > deadlineMs) throw tooSlow(running, options)
    await Promise.race([delay(clock, POLL_MS, signal), running.exited])
    signal?.throwIfAborted()
  }
}

async function answers(socket: LlamaSocket, path: string, timeoutMs: number): Promise<boolean> {
  return askEngine(socket, path, { timeoutMs }).then(
    ({ status }) => status === 200,
    () => false,
  )
}

function endedEarly(exit: LlamaExit, options: StartOptions): HelixError {
  const reason = tellingLine(exit.lastLines) ?? 'it printed nothing'
  const how = exit.signal ? `ended by ${exit.signal}` : `exit code ${exit.code}`
  // The caller learns what is wrong with the model, not where it lies.
  const shown = reason.replaceAll(options.modelPath, options.alias)
  return new HelixError('engine_failed', `The engine could not load ${options.alias}: ${shown} (${how}).`, {
    internal: `engine ${how} while loading ${options.modelPath}:\n${exit.lastLines.join('\n')}`,
    cause: exit,
  })
}

function tooSlow(running: EngineProcess, { alias, startTimeoutMs }: StartOptions): HelixError {
  return new HelixError(
    'engine_failed',
    `The engine did not load ${alias} within ${Math.round(startTimeoutMs / 1000)} s.`,
    { internal: `engine ${running.pid} was not ready in time:\n${running.output.lastLines.join('\n')}` },
  )
}

async function end(running: EngineProcess, graceMs: number, clock: Clock): Promise<void> {
  const hasEnded = running.exited.then(() => true)
  if (graceMs > 0) {
    kill(running, 'SIGTERM')
    if (await Promise.race([hasEnded, delay(clock, graceMs).then(() => false)])) return
  }
  kill(running, 'SIGKILL')
  await hasEnded
}

/** The whole group: what stands on the PATH may be a script that starts the server as its child. */
function kill({ child, pid }: EngineProcess, signal: NodeJS.Signals): void {
  if (child.exitCode === null && child.signalCode === null) process.kill(-pid, signal)
}
