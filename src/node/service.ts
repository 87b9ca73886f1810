import { createReadStream } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type {
  DeviceReport,
  EngineExit,
  InstanceShape,
  MemoryNeed,
  ModelFile,
  NodeClient,
  RunningEngineView,
  StartOutcome,
  StartRequest,
} from '../contracts/node.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { chatTemplatePath } from '../engines/chat-templates.ts'
import { PROMPT_CACHE_MIB } from '../engines/llama-arguments.ts'
import type { LlamaEngine } from '../engines/llama-engine.ts'
import { estimateMemory } from '../engines/llama-fit.ts'
import { type LlamaExit, type LlamaServer, startLlamaServer } from '../engines/llama-server.ts'
import type { ModelStore, StoredModel } from '../engines/model-store.ts'
import type { MachineDevices } from './devices/machine-devices.ts'
import type { PageCache } from './devices/page-cache.ts'
import type { EngineMemory } from './engine-memory.ts'
import { superviseEngine } from './supervise.ts'

export interface NodeParts {
  readonly nodeId: string
  readonly store: ModelStore
  /** Finds or builds the engine of this machine, which can take minutes. */
  readonly engine: () => Promise<LlamaEngine>
  /** Folder for the engines' sockets. */
  readonly socketDirectory: string
  readonly devices: MachineDevices
  readonly pageCache: PageCache
  readonly memory: EngineMemory
  readonly threads: number | undefined
  readonly startTimeoutMs: number
  readonly probeIntervalMs: number
  readonly probeTimeoutMs: number
  readonly stuckTimeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}

const READ_BYTES = 2 ** 20
const STOP_GRACE_MS = 3_000

/** The model files and the engine processes of this machine, behind the contract that the pool speaks. */
export class NodeService implements NodeClient {
  private readonly running = new Map<string, Running>()
  private readonly exitListeners = new Set<(exit: EngineExit) => void>()
  private readonly estimates = new Map<string, Promise<MemoryNeed>>()
  /** Files whose tensors an engine has checked for this run; the check reads the whole file, so it is done once. */
  private readonly checked = new Set<string>()
  private preparing: Promise<LlamaEngine> | undefined
  private problem: HelixError | undefined

  constructor(private readonly parts: NodeParts) {}

  get nodeId(): string {
    return this.parts.nodeId
  }

  devices(): Promise<readonly DeviceReport[]> {
    return this.parts.devices.list()
  }

  watchDevices(listener: (devices: readonly DeviceReport[]) => void): () => void {
    return this.parts.devices.watch(listener)
  }

  async cacheFile(model: string): Promise<void> {
    const { path } = await this.parts.store.get(model)
    await pipeline(
      createReadStream(path, { highWaterMark: READ_BYTES }),
      new Writable({ write: (_, __, done) => done() }),
    )
    this.parts.pageCache.forget(path)
  }

  async engines(): Promise<readonly RunningEngineView[]> {
    return [...this.running.values()].flatMap(({ view }) => (view ? [view] : []))
  }

  async listModels(): Promise<readonly ModelFile[]> {
    const models = await this.parts.store.list()
    return Promise.all(
      models.map(async (model) => toModelFile(model, await this.parts.pageCache.holds(model.path))),
    )
  }

  async estimate(model: string, shape: InstanceShape): Promise<MemoryNeed> {
    const stored = await this.parts.store.get(model)
    return this.parts.memory.need(stored.revision, shape, await this.reckon(stored, shape))
  }

  /** What the engine itself says of a model that it has not loaded. */
  private async reckon({ path, sizeBytes }: StoredModel, shape: InstanceShape): Promise<MemoryNeed> {
    const key = JSON.stringify([path, sizeBytes, shape.slots, shape.contextLength])
    const known = this.estimates.get(key)
    if (known) return known
    const estimate = this.engine().then(async (engine) => {
      const parts = await estimateMemory({
        ...{ engine, modelPath: path, slots: shape.slots },
        contextLength: shape.contextLength,
      })
      const perDeviceBytes = parts.computeBytes + PROMPT_CACHE_MIB * 2 ** 20
      return { memoryBytes: parts.modelBytes + parts.contextBytes + perDeviceBytes, perDeviceBytes }
    })
    this.estimates.set(key, estimate)
    estimate.catch(() => this.estimates.delete(key))
    return estimate
  }

  async start(request: StartRequest): Promise<StartOutcome> {
    const abort = new AbortController()
    this.parts.memory.expect(request)
    const starting = this.startServer(request, abort.signal)
    this.running.set(request.instanceId, {
      abort,
      server: starting.then(
        ({ server }) => server,
        () => undefined,
      ),
      supervision: undefined,
      view: undefined,
    })
    try {
      const { server, revision, perDeviceBytes } = await starting
      this.supervise(request.instanceId, server)
      const { address, contextLength, supportsTools, vocabularySize } = server
      const facts = { address, contextLength, supportsTools, vocabularySize, revision }
      const ready = { kind: 'llama-server', pid: server.pid, revision, perDeviceBytes } as const
      const shares = await this.parts.memory.measure(request, ready)
      const engine = { engine: 'llama-server', shares, ...facts } as const
      const running = this.running.get(request.instanceId)
      if (running) running.view = { request, engine }
      return { kind: 'ready', engine }
    } catch (reason) {
      this.forget(request.instanceId)
      const error = HelixError.from(reason)
      if (abort.signal.aborted) return { kind: 'gone', why: 'stopped', error }
      return { kind: 'gone', why: endedBySignal(error) ? 'crashed' : 'failed', error }
    }
  }

  async stop(instanceId: string): Promise<void> {
    const running = this.running.get(instanceId)
    if (!running) return
    running.supervision?.end()
    running.abort.abort(new HelixError('server_draining', 'The engine was told to stop.'))
    const server = await running.server
    const released = server && running.view && (await this.parts.memory.ending(running.view, server.pid))
    await server?.stop(STOP_GRACE_MS)
    await released?.()
    this.forget(instanceId)
  }

  /** Ends the watch over the devices. Engines are for the pool to stop. */
  close(): Promise<void> {
    return this.parts.memory.close()
  }

  watchExits(listener: (exit: EngineExit) => void): () => void {
    this.exitListeners.add(listener)
    return () => this.exitListeners.delete(listener)
  }

  quarantine(model: string, reason: string): Promise<void> {
    return this.parts.store.quarantine(model, reason)
  }

  release(model: string): Promise<void> {
    return this.parts.store.release(model)
  }

  engineProblem(): HelixError | undefined {
    // Whoever asks is about to need it. What failed is told, and tried again only when a model is to be loaded.
    if (!this.preparing && !this.problem) this.engine().catch(() => {})
    return this.problem
  }

  /** The engine, from the first call on: what has no local model needs none. A failure is tried again. */
  private engine(): Promise<LlamaEngine> {
    if (this.preparing) return this.preparing
    this.problem ??= new HelixError('engine_missing', 'The engine is still being prepared.')
    const preparing = this.parts.engine()
    this.preparing = preparing
    preparing.then(
      () => {
        this.problem = undefined
      },
      (reason) => {
        this.problem = HelixError.from(reason)
        this.preparing = undefined
      },
    )
    return preparing
  }

  private async startServer(request: StartRequest, signal: AbortSignal): Promise<StartedServer> {
    const { parts } = this
    const engine = await this.engine()
    const model = await parts.store.get(request.model)
    const identity = `${model.path}:${model.sizeBytes}:${model.addedAtMs}`
    const { slots, contextLength, chatTemplate } = request.shape
    const { memoryBytes, perDeviceBytes } = await this.estimate(request.model, request.shape)
    const server = await startLlamaServer({
      engine,
      modelPath: model.path,
      alias: model.name,
      slots,
      contextLength,
      threads: parts.threads ?? availableParallelism(),
      kind: model.header?.kind ?? 'generation',
      chatTemplatePath: chatTemplate === undefined ? undefined : chatTemplatePath(chatTemplate),
      checkTensors: !this.checked.has(identity),
      socketDirectory: parts.socketDirectory,
      startTimeoutMs: parts.startTimeoutMs,
      memoryMaxBytes: memoryBound(memoryBytes, slots),
      clock: parts.clock,
      log: parts.log.with({ instance: request.instanceId }),
      signal,
    })
    this.checked.add(identity)
    return { server, revision: model.revision, perDeviceBytes }
  }

  private forget(instanceId: string): void {
    this.running.delete(instanceId)
    this.parts.memory.forget(instanceId)
  }

  private supervise(instanceId: string, server: LlamaServer): void {
    const running = this.running.get(instanceId)
    if (!running) return
    running.supervision = superviseEngine(server, this.parts, (end) => {
      this.forget(instanceId)
      for (const listener of this.exitListeners) listener({ instanceId, ...end })
    })
  }
}

interface StartedServer {
  readonly server: LlamaServer
  /** Of the file that it loaded. */
  readonly revision: string
  readonly perDeviceBytes: number
}

interface Running {
  readonly abort: AbortController
  readonly server: Promise<LlamaServer | undefined>
  supervision: { end(): void } | undefined
  /** Once it is ready. */
  view: RunningEngineView | undefined
}

const THREAD_STACK_BYTES = 8 * 2 ** 20
const SPARE_BYTES = 2 * 2 ** 30

/** Well above what an engine needs, and far below what a runaway request would take. */
function memoryBound(estimateBytes: number, slots: number): number {
  return Math.round(1.5 * estimateBytes) + slots * THREAD_STACK_BYTES + SPARE_BYTES
}

/** While loading, an engine that ends with a message has refused the file; one that a signal ended has not. */
function endedBySignal({ cause }: HelixError): boolean {
  const exit = cause as Partial<LlamaExit> | undefined
  return exit?.signal !== undefined
}

function toModelFile(model: StoredModel, cached: boolean): ModelFile {
  return {
    name: model.name,
    sizeBytes: model.sizeBytes,
    sha256: model.sha256,
    revision: model.revision,
    source: model.source,
    addedAtMs: model.addedAtMs,
    architecture: model.header?.architecture,
    quantization: model.header?.quantization,
    trainedContextLength: model.header?.contextLength,
    cached,
    quarantinedBecause: model.quarantine?.reason,
    invalidBecause: model.invalidBecause,
  }
}
