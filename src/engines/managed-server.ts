import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import type { EngineAddress } from '../contracts/pool.ts'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Engine, EngineFacts } from './engine.ts'
import {
  type EngineCommand,
  type EngineProcess,
  endedEarly,
  launchEngine,
  reserveSocketPath,
  untilReady,
} from './engine-process.ts'
import { kindOf, visibleDevices } from './granted-device.ts'
import { askEngine } from './llama-request.ts'
import { freeLoopbackPort } from './loopback-port.ts'
import { type ManagedShape, sglangArguments, vllmArguments } from './managed-arguments.ts'
import type { ManagedProgram } from './managed-program.ts'

export interface ManagedStart extends ManagedShape {
  readonly program: ManagedProgram
  /** From the model's own folder; these engines do not tell it. */
  readonly vocabularySize: number | undefined
  /** For sockets and the file with the key. Made if need be, for nobody but us. */
  readonly socketDirectory: string
  /** What the engines compile for this machine is kept here. */
  readonly cacheDirectory: string
  readonly startTimeoutMs: number
  readonly clock: Clock
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
}

const ANSWER_TIMEOUT_MS = 2_000

/** Of the first generation, for which more is compiled. */
const FIRST_GENERATION_TIMEOUT_MS = 120_000

/** The end of a process is known within this time. */
const EXIT_NOTICE_MS = 1_000

/** The last words of these programs. Whatever else they print while they serve may quote a request. */
const LAST_WORDS = /torch\.(cuda\.)?OutOfMemoryError|CUDA error|EngineDeadError|NCCL error|Segmentation fault/

const Models = z.object({ data: z.array(z.object({ max_model_len: z.int().positive() })).min(1) })

/**
 * Starts vLLM or SGLang for one model and returns when it has generated a token on its devices. It ends when this
 * process does, with all processes that it consists of.
 * @throws HelixError `engine_failed`, where the process ended by itself with its `EngineEnd` as `cause`;
 *   `engine_unusable` (no card was given to it); the signal's reason when it aborts
 */
export async function startManagedServer(options: ManagedStart): Promise<Engine> {
  options.signal?.throwIfAborted()
  requireCards(options)
  const { program, alias, clock, log, signal } = options
  const { command, address } = await prepare(options)
  const running = launchEngine(command, { clock, log })
  const answers = (path: string, timeoutMs: number, body?: object) =>
    askEngine(address, path, { timeoutMs, body, signal: undefined }).then(
      ({ status }) => status === 200,
      () => false,
    )
  const generates = (timeoutMs: number) =>
    answers('/v1/completions', timeoutMs, { model: alias, prompt: 'Hello', max_tokens: 1 })
  try {
    await untilReady(running, { ...options, isReady: () => answers('/health', ANSWER_TIMEOUT_MS) })
    const facts = await readFacts(address, options)
    running.output.beginServing()
    if (!(await generates(FIRST_GENERATION_TIMEOUT_MS))) throw await noGeneration(running, options)
    signal?.throwIfAborted()
    log.info('engine started', { pid: running.pid, alias, ...facts })
    return {
      ...{ ...facts, kind: program.kind, pid: running.pid, address, exited: running.exited },
      isAlive: (timeoutMs) => answers('/health', timeoutMs),
      // Neither shows its loop otherwise; one token among many costs nothing that could be measured.
      isWorking: generates,
      stop: (graceMs) => running.end(graceMs),
    }
  } catch (cause) {
    await running.end(0)
    throw cause
  }
}

function requireCards({ program, devices, alias }: ManagedStart): void {
  const kind = kindOf(devices)
  if (kind === 'cuda' || kind === 'rocm') return
  throw new HelixError(
    'engine_unusable',
    `${program.kind} runs on graphics cards only, and ${alias} was to go to ${kind}. Name the cards in ` +
      `helixflow.yaml: models.perModel.${alias}.devices: [cuda]`,
  )
}

/** Where it will listen, with the files that it needs for that. */
async function prepare(
  options: ManagedStart,
): Promise<{ readonly command: EngineCommand; readonly address: EngineAddress }> {
  const { program, socketDirectory, cacheDirectory, devices } = options
  const apiKey = randomBytes(24).toString('base64url')
  const path = await reserveSocketPath(socketDirectory)
  await mkdir(cacheDirectory, { recursive: true, mode: 0o700 })
  const environment = {
    ...{ PATH: program.searchPath, HOME: cacheDirectory, ...visibleDevices(devices) },
    // The model lies here; nothing is to be fetched, nor told to anybody.
    ...{ HF_HUB_OFFLINE: '1', TRANSFORMERS_OFFLINE: '1', VLLM_NO_USAGE_STATS: '1', DO_NOT_TRACK: '1' },
  }
  const command = { files: [path], secret: apiKey, isHarmless: (line: string) => LAST_WORDS.test(line) }
  if (program.kind === 'vllm') {
    const door = program.listensOnSockets ? { socketPath: path } : { port: await freeLoopbackPort() }
    return {
      command: {
        ...command,
        line: [...program.command, ...vllmArguments(options, door)],
        environment: { ...environment, VLLM_API_KEY: apiKey },
      },
      address: addressOf(door, apiKey),
    }
  }
  const port = await freeLoopbackPort()
  const settingsPath = path.replace(/\.sock$/, '.yaml')
  await writeFile(settingsPath, `api-key: ${apiKey}\n`, { mode: 0o600 })
  return {
    command: {
      ...command,
      files: [settingsPath],
      line: [...program.command, ...sglangArguments(options, port, settingsPath)],
      environment,
    },
    address: addressOf({ port }, apiKey),
  }
}

function addressOf(
  door: { readonly socketPath: string } | { readonly port: number },
  apiKey: string,
): EngineAddress {
  return 'socketPath' in door
    ? { url: 'http://localhost', socketPath: door.socketPath, apiKey }
    : { url: `http://127.0.0.1:${door.port}`, socketPath: undefined, apiKey }
}

async function readFacts(address: EngineAddress, options: ManagedStart): Promise<EngineFacts> {
  const answer = await askEngine(address, '/v1/models', { timeoutMs: ANSWER_TIMEOUT_MS })
  const result = Models.safeParse(answer.body)
  const contextLength = result.data?.data[0]?.max_model_len
  if (answer.status === 200 && contextLength !== undefined) {
    const supportsTools = options.extra.some((one) => one.startsWith('--tool-call-parser'))
    return { contextLength, supportsTools, vocabularySize: options.vocabularySize }
  }
  throw new HelixError('engine_failed', 'The engine gave an answer that HelixFlow does not understand.', {
    internal: `/v1/models: status ${answer.status}, ${result.error?.message ?? 'body as expected'}`,
  })
}

/** A card that cannot run the engine's code shows it only now: with an error, or by the end of the process. */
async function noGeneration(running: EngineProcess, options: ManagedStart): Promise<HelixError> {
  const ended = await Promise.race([running.exited, delay(options.clock, EXIT_NOTICE_MS)])
  if (ended) return endedEarly(ended, options)
  const { program, alias } = options
  return new HelixError('engine_failed', `${program.kind} loaded ${alias}, but a test generation failed.`)
}
