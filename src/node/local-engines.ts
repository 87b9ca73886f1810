import type { InstanceShape, MemoryNeed, StartRequest } from '../contracts/node.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { chatTemplatePath } from '../engines/chat-templates.ts'
import type { Engine } from '../engines/engine.ts'
import { type GrantedDevice, kindOf } from '../engines/granted-device.ts'
import { PROMPT_CACHE_MIB } from '../engines/llama-arguments.ts'
import type { LlamaEngine } from '../engines/llama-engine.ts'
import { estimateMemory } from '../engines/llama-fit.ts'
import { startLlamaServer } from '../engines/llama-server.ts'
import type { TrialDevice } from '../engines/llama-trial.ts'
import { managedMemory } from '../engines/managed-memory.ts'
import type { ManagedKind, ManagedProgram } from '../engines/managed-program.ts'
import { startManagedServer } from '../engines/managed-server.ts'
import { threadsFor } from './engine-threads.ts'
import { engineFor, type LocalModel, type LocalModels } from './local-models.ts'

export interface LocalEngineParts {
  readonly models: LocalModels
  /** Finds or builds a llama-server that computes on these devices, which can take minutes. */
  readonly llamaServer: (devices: readonly TrialDevice[]) => Promise<LlamaEngine>
  /** Finds vLLM or SGLang as it is installed. */
  readonly managed: (kind: ManagedKind) => Promise<ManagedProgram>
  /** Folder for the engines' sockets. */
  readonly socketDirectory: string
  /** For what vLLM and SGLang compile. */
  readonly cacheDirectory: string
  /** Per engine; undefined: divided among them. */
  readonly threads: number | undefined
  readonly cores: number
  readonly startTimeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}

export interface StartedModel {
  readonly engine: Engine
  /** Of what it loaded. */
  readonly revision: string
  /** What each of its devices was reckoned to hold whole. */
  readonly perDeviceBytes: number
}

const MIB = 2 ** 20

/** What a process takes of a card before it has loaded anything: its context and its code. Measured 527 MiB on an H100. */
const CARD_BASE_BYTES = 560 * MIB

/** After this time it is worth looking again whether an engine computes on a card: somebody may have installed one. */
const TRY_AGAIN_MS = 300_000

/** How models become running engines on this machine: which program, with what, and what memory that will take. */
export class LocalEngines {
  private readonly llamaServers = new Map<string, Promise<LlamaEngine>>()
  private readonly programs = new Map<ManagedKind, Promise<ManagedProgram>>()
  private readonly estimates = new Map<string, Promise<MemoryNeed>>()
  /** Why there is no llama-server for devices, by their kinds and names. */
  private readonly problems = new Map<string, { readonly error: HelixError; readonly sinceMs: number }>()
  /** Files whose tensors an engine has checked for this run; the check reads the whole file, so it is done once. */
  private readonly checked = new Set<string>()

  /** Threads of the engines that compute on the processor, by instance. */
  private readonly threads = new Map<string, number>()

  constructor(private readonly parts: LocalEngineParts) {}

  /**
   * What one instance will need, as its engine reckons it.
   * @param onCards whether it may be placed on a card, where a process takes more than its model
   * @throws HelixError as `NodeClient.estimate`
   */
  async estimate(model: string, shape: InstanceShape, onCards: boolean): Promise<MemoryNeed> {
    const local = await this.parts.models.get(model)
    if (local.kind === 'folder') return managedMemory(local.folder, shape)
    const { path, sizeBytes } = local.stored
    const key = JSON.stringify([path, sizeBytes, shape.slots, shape.contextLength, onCards])
    const known = this.estimates.get(key)
    if (known) return known
    const estimate = this.llamaServer([]).then(async (engine) => {
      const parts = await estimateMemory({
        ...{ engine, modelPath: path, slots: shape.slots },
        contextLength: shape.contextLength,
      })
      const promptCacheBytes = PROMPT_CACHE_MIB * MIB
      // Prompts are kept in the machine's memory; on a card that room covers a part of the process itself.
      const ownBytes = onCards ? Math.max(promptCacheBytes, CARD_BASE_BYTES) : promptCacheBytes
      const perDeviceBytes = parts.computeBytes + ownBytes
      return { memoryBytes: parts.modelBytes + parts.contextBytes + perDeviceBytes, perDeviceBytes }
    })
    this.estimates.set(key, estimate)
    estimate.catch(() => this.estimates.delete(key))
    return estimate
  }

  /**
   * Starts an engine on the devices and returns when it can generate.
   * @throws HelixError `engine_missing`, `engine_unusable`, `engine_failed`, `invalid_configuration`; the signal's
   *   reason when it aborts
   */
  async start(
    request: StartRequest,
    devices: readonly GrantedDevice[],
    signal: AbortSignal,
  ): Promise<StartedModel> {
    const model = await this.parts.models.get(request.model)
    const engine = engineFor(model, request.shape.engine)
    const log = this.parts.log.with({ instance: request.instanceId })
    const asked = { request, devices, signal, log }
    if (model.kind === 'gguf') return this.startLlama(model, asked)
    return this.startManaged(model, engine === 'sglang' ? 'sglang' : 'vllm', asked)
  }

  /** Why no llama-server can run here, or why none computes on the device; undefined when it is not known to be so. */
  problem(device?: TrialDevice): HelixError | undefined {
    const problem = this.problems.get(keyOf(device ? [device] : []))
    if (!problem) return undefined
    const isOld = device && this.parts.clock.monotonic() - problem.sinceMs >= TRY_AGAIN_MS
    return isOld ? undefined : problem.error
  }

  /** Has it found or built, from the first call on: what has no local model needs none. A failure is tried again. */
  llamaServer(devices: readonly TrialDevice[]): Promise<LlamaEngine> {
    const key = keyOf(devices)
    const known = this.llamaServers.get(key)
    if (known) return known
    if (devices.length === 0 && !this.problems.has(key)) this.note(key, PREPARING)
    const preparing = this.parts.llamaServer(devices)
    this.llamaServers.set(key, preparing)
    preparing.then(
      () => this.problems.delete(key),
      (reason) => {
        this.note(key, HelixError.from(reason))
        this.llamaServers.delete(key)
      },
    )
    return preparing
  }

  /** Whether it is known or being found out. */
  isPrepared(): boolean {
    return this.llamaServers.has(keyOf([])) || this.problems.has(keyOf([]))
  }

  private note(key: string, error: HelixError): void {
    this.problems.set(key, { error, sinceMs: this.parts.clock.monotonic() })
  }

  private async startLlama(
    { stored }: Extract<LocalModel, { kind: 'gguf' }>,
    { request, devices, signal, log }: Asked,
  ): Promise<StartedModel> {
    const { socketDirectory, startTimeoutMs, clock } = this.parts
    const { slots, contextLength, chatTemplate } = request.shape
    const isOnCards = kindOf(devices) !== 'cpu'
    const program = await this.llamaServer(isOnCards ? devices : [])
    const need = await this.estimate(request.model, request.shape, isOnCards)
    const threads = await this.claimThreads(request.instanceId, isOnCards)
    const identity = `${stored.path}:${stored.sizeBytes}:${stored.addedAtMs}`
    const starting = startLlamaServer({
      ...{
        engine: program,
        modelPath: stored.path,
        alias: stored.name,
        slots,
        contextLength,
        threads,
        devices,
      },
      ...{ socketDirectory, startTimeoutMs, clock, log, signal },
      kind: stored.header?.kind ?? 'generation',
      chatTemplatePath: chatTemplate === undefined ? undefined : chatTemplatePath(chatTemplate),
      checkTensors: !this.checked.has(identity),
      // A card's driver maps as much as the card has; a bound on that would end the engine at its start.
      memoryMaxBytes: isOnCards ? undefined : memoryBound(need.memoryBytes, slots),
    })
    const release = () => this.threads.delete(request.instanceId)
    starting.then(({ exited }) => exited.then(release), release)
    const engine = await starting
    this.checked.add(identity)
    return { engine, revision: stored.revision, perDeviceBytes: need.perDeviceBytes }
  }

  /** Held until the engine has ended. */
  private async claimThreads(instanceId: string, isOnCard: boolean): Promise<number> {
    const { cores, models } = this.parts
    const usable = (await models.list()).filter((one) => !one.invalidBecause && !one.quarantinedBecause)
    const taken = [...this.threads.values()].reduce((sum, threads) => sum + threads, 0)
    const threads = this.parts.threads ?? threadsFor({ cores, taken, models: usable.length, isOnCard })
    if (!isOnCard) this.threads.set(instanceId, threads)
    return threads
  }

  private async startManaged(
    { name, folder, engineArguments }: Extract<LocalModel, { kind: 'folder' }>,
    kind: ManagedKind,
    { request, devices, signal, log }: Asked,
  ): Promise<StartedModel> {
    const { socketDirectory, cacheDirectory, startTimeoutMs, clock } = this.parts
    const { slots, contextLength, chatTemplate } = request.shape
    const program = await this.program(kind)
    const { perDeviceBytes } = managedMemory(folder, request.shape)
    const engine = await startManagedServer({
      ...{ program, alias: name, modelPath: folder.path, slots, contextLength, devices },
      ...{ socketDirectory, cacheDirectory, startTimeoutMs, clock, log, signal, extra: engineArguments },
      vocabularySize: folder.facts.vocabularySize,
      chatTemplatePath: chatTemplate === undefined ? undefined : chatTemplatePath(chatTemplate),
    })
    return { engine, revision: folder.revision, perDeviceBytes }
  }

  /** A failure is tried again: somebody may have installed it meanwhile. */
  private program(kind: ManagedKind): Promise<ManagedProgram> {
    const known = this.programs.get(kind)
    if (known) return known
    const finding = this.parts.managed(kind)
    this.programs.set(kind, finding)
    finding.catch(() => this.programs.delete(kind))
    return finding
  }
}

interface Asked {
  readonly request: StartRequest
  readonly devices: readonly GrantedDevice[]
  readonly signal: AbortSignal
  readonly log: Logger
}

const PREPARING = new HelixError('engine_missing', 'The engine is still being prepared.')

/** Cards of one name run the same code. */
function keyOf(devices: readonly TrialDevice[]): string {
  return [...new Set(devices.map(({ kind, name }) => `${kind}:${name}`))].sort().join(' ')
}

const THREAD_STACK_BYTES = 8 * 2 ** 20
const SPARE_BYTES = 2 * 2 ** 30

/** Well above what an engine needs, and far below what a runaway request would take. */
function memoryBound(estimateBytes: number, slots: number): number {
  return Math.round(1.5 * estimateBytes) + slots * THREAD_STACK_BYTES + SPARE_BYTES
}
