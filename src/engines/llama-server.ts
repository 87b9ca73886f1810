import { randomBytes } from 'node:crypto'
import { resolve } from 'node:path'
import type { EngineAddress } from '../contracts/pool.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Engine } from './engine.ts'
import { launchEngine, reserveSocketPath, untilReady } from './engine-process.ts'
import { visibleDevices } from './granted-device.ts'
import { type EngineShape, llamaServerArguments } from './llama-arguments.ts'
import { engineEnvironment, type LlamaEngine } from './llama-engine.ts'
import { readLlamaFacts } from './llama-facts.ts'
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
  readonly clock: Clock
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
}

/** A running `llama-server` that has loaded its model. */
export interface LlamaServer extends Engine {
  readonly address: EngineAddress & LlamaSocket
}

const ANSWER_TIMEOUT_MS = 2_000

/**
 * Starts one process for one model and returns when it is ready to generate. Whoever may enter `socketDirectory`
 * and knows the key can use it; both are made for us alone. It ends when this process does, even by SIGKILL.
 * @throws HelixError `engine_failed`, where the process ended by itself with its `EngineEnd` as `cause`;
 *   `engine_unusable` (devices of several kinds); `invalid_configuration` (socket path too long); the signal's reason
 *   when it aborts
 */
export async function startLlamaServer(options: StartOptions): Promise<LlamaServer> {
  options.signal?.throwIfAborted()
  const { engine, devices = [], memoryMaxBytes } = options
  const socketPath = await reserveSocketPath(options.socketDirectory)
  const socket: LlamaSocket = { socketPath, apiKey: randomBytes(24).toString('base64url') }
  const modelPath = resolve(options.modelPath)
  const running = launchEngine(
    {
      line: [engine.serverPath, ...llamaServerArguments(options, modelPath, socketPath)],
      environment: {
        ...engineEnvironment(engine),
        ...visibleDevices(devices),
        LLAMA_API_KEY: socket.apiKey,
      },
      memoryMaxBytes,
      secret: socket.apiKey,
      files: [socketPath],
    },
    options,
  )
  try {
    await untilReady(running, {
      ...options,
      isReady: () => answers(socket, '/health', ANSWER_TIMEOUT_MS),
    })
    running.output.beginServing()
    const facts = await readLlamaFacts(socket, ANSWER_TIMEOUT_MS)
    options.log.info('engine started', { pid: running.pid, alias: options.alias, ...facts })
    return {
      ...facts,
      kind: 'llama-server',
      pid: running.pid,
      address: { url: 'http://localhost', ...socket },
      exited: running.exited,
      isAlive: (timeoutMs) => answers(socket, '/health', timeoutMs),
      isWorking: (timeoutMs) => answers(socket, '/slots', timeoutMs),
      stop: (graceMs) => running.end(graceMs),
    }
  } catch (cause) {
    await running.end(0)
    throw cause
  }
}

async function answers(socket: LlamaSocket, path: string, timeoutMs: number): Promise<boolean> {
  return askEngine(socket, path, { timeoutMs }).then(
    ({ status }) => status === 200,
    () => false,
  )
}
