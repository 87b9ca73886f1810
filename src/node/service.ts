import { createReadStream } from 'node:fs'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type {
  DeviceReport,
  DeviceShare,
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
import type { Metrics } from '../core/metrics.ts'
import type { Engine, EngineEnd } from '../engines/engine.ts'
import type { GrantedDevice } from '../engines/granted-device.ts'
import type { MachineDevices } from './devices/machine-devices.ts'
import type { PageCache } from './devices/page-cache.ts'
import type { EngineMemory } from './engine-memory.ts'
import type { LocalEngines, StartedModel } from './local-engines.ts'
import type { LocalModels } from './local-models.ts'
import { memoryPressure } from './memory-pressure.ts'
import { superviseEngine } from './supervise.ts'

export interface NodeParts {
  readonly nodeId: string
  readonly models: LocalModels
  readonly engines: LocalEngines
  readonly devices: MachineDevices
  readonly pageCache: PageCache
  readonly memory: EngineMemory
  readonly probeIntervalMs: number
  readonly probeTimeoutMs: number
  readonly stuckTimeoutMs: number
  readonly clock: Clock
  readonly metrics: Metrics
}

const READ_BYTES = 2 ** 20
const STOP_GRACE_MS = 3_000

/** The model files and the engine processes of this machine, behind the contract that the pool speaks. */
export class NodeService implements NodeClient {
  private readonly running = new Map<string, Running>()
  private readonly exitListeners = new Set<(exit: EngineExit) => void>()

  private readonly unread: () => void

  constructor(private readonly parts: NodeParts) {
    this.unread = parts.metrics.beforeRead(() => this.show(parts.metrics))
  }

  get nodeId(): string {
    return this.parts.nodeId
  }

  async devices(): Promise<readonly DeviceReport[]> {
    return this.usable(await this.parts.devices.list())
  }

  watchDevices(listener: (devices: readonly DeviceReport[]) => void): () => void {
    return this.parts.devices.watch((reports) => listener(this.usable(reports)))
  }

  /** Cards on which no engine computes take no models. */
  private usable(reports: readonly DeviceReport[]): readonly DeviceReport[] {
    const { engines, models } = this.parts
    // Where vLLM or SGLang may need the card, it is open to them, and what else is sent there fails by itself.
    if (models.hasFolders()) return reports
    return reports.map((report) => withProblem(report, engines.problem(report)))
  }

  async cacheFile(model: string): Promise<void> {
    for (const path of await this.parts.models.filesOf(model)) {
      await pipeline(
        createReadStream(path, { highWaterMark: READ_BYTES }),
        new Writable({ write: (_, __, done) => done() }),
      )
      this.parts.pageCache.forget(path)
    }
  }

  async engines(): Promise<readonly RunningEngineView[]> {
    return [...this.running.values()].flatMap(({ view, abort }) =>
      view && !abort.signal.aborted ? [view] : [],
    )
  }

  async listModels(): Promise<readonly ModelFile[]> {
    return this.parts.models.list()
  }

  async estimate(model: string, shape: InstanceShape): Promise<MemoryNeed> {
    const hasCards = (await this.devices()).some(({ kind }) => kind !== 'cpu')
    const reckoned = await this.parts.engines.estimate(model, shape, hasCards)
    return this.parts.memory.need(await this.parts.models.revisionOf(model), shape, reckoned)
  }

  async start(request: StartRequest): Promise<StartOutcome> {
    const abort = new AbortController()
    this.parts.memory.expect(request)
    const starting = this.startEngine(request, abort.signal)
    this.running.set(request.instanceId, {
      abort,
      engine: starting.then(
        ({ engine }) => engine,
        () => undefined,
      ),
      supervision: undefined,
      view: undefined,
    })
    try {
      const { engine, revision, perDeviceBytes } = await starting
      // Told to stop just now: whoever did so waits for its end, and nobody may take it for ready.
      abort.signal.throwIfAborted()
      this.supervise(request.instanceId, engine)
      const { kind, address, contextLength, supportsTools, vocabularySize } = engine
      const facts = { address, contextLength, supportsTools, vocabularySize, revision }
      const ready = { kind, pid: engine.pid, revision, perDeviceBytes }
      const shares = await this.parts.memory.measure(request, ready)
      const started = { engine: kind, shares, ...facts } as const
      abort.signal.throwIfAborted()
      const running = this.running.get(request.instanceId)
      if (!running) return this.endedMeanwhile(request)
      running.view = { request, engine: started }
      return { kind: 'ready', engine: started }
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
    const engine = await running.engine
    const released = engine && running.view && (await this.parts.memory.ending(running.view, engine.pid))
    await engine?.stop(STOP_GRACE_MS)
    await released?.()
    this.forget(instanceId)
  }

  /** Ends the watch over the devices. Engines are for the pool to stop. */
  close(): Promise<void> {
    this.unread()
    return this.parts.memory.close()
  }

  watchExits(listener: (exit: EngineExit) => void): () => void {
    this.exitListeners.add(listener)
    return () => this.exitListeners.delete(listener)
  }

  quarantine(model: string, reason: string): Promise<void> {
    return this.parts.models.quarantine(model, reason)
  }

  release(model: string): Promise<void> {
    return this.parts.models.release(model)
  }

  engineProblem(): HelixError | undefined {
    const { engines } = this.parts
    // Whoever asks is about to need it. What failed is told, and tried again only when a model is to be loaded.
    if (!engines.isPrepared()) engines.llamaServer([]).catch(() => {})
    return engines.problem()
  }

  private show(metrics: Metrics): void {
    metrics.set('helixflow_node_engines', {}, this.running.size)
    const pressure = memoryPressure()
    if (pressure === undefined) metrics.drop('helixflow_node_memory_pressure_ratio', {})
    else metrics.set('helixflow_node_memory_pressure_ratio', {}, pressure)
  }

  private async startEngine(request: StartRequest, signal: AbortSignal): Promise<StartedModel> {
    return this.parts.engines.start(request, granted(request.shares, await this.devices()), signal)
  }

  /** It was ready and ended while it was measured, by which its memory was claimed once more. */
  private endedMeanwhile({ instanceId, model }: StartRequest): StartOutcome {
    this.forget(instanceId)
    const error = new HelixError('engine_failed', `The engine of ${model} ended as soon as it was ready.`)
    return { kind: 'gone', why: 'crashed', error }
  }

  private forget(instanceId: string): void {
    this.running.delete(instanceId)
    this.parts.memory.forget(instanceId)
  }

  private supervise(instanceId: string, engine: Engine): void {
    const running = this.running.get(instanceId)
    if (!running) return
    running.supervision = superviseEngine(engine, this.parts, (end) => {
      this.forget(instanceId)
      for (const listener of this.exitListeners) listener({ instanceId, ...end })
    })
  }
}

interface Running {
  readonly abort: AbortController
  readonly engine: Promise<Engine | undefined>
  supervision: { end(): void } | undefined
  /** Once it is ready. */
  view: RunningEngineView | undefined
}

/** @throws HelixError `engine_failed` when a device is not there any more */
function granted(shares: readonly DeviceShare[], reports: readonly DeviceReport[]): GrantedDevice[] {
  return shares.map(({ deviceId, bytes }) => {
    const report = reports.find(({ id }) => id === deviceId)
    if (!report) throw new HelixError('engine_failed', `The device ${deviceId} is not there any more.`)
    const { id, kind, name, totalBytes, usedBytes, foreignBytes } = report
    return { id, kind, name, bytes, totalBytes, freeBytes: totalBytes - (usedBytes ?? foreignBytes) }
  })
}

/**
 * A card on which no llama-server computes takes no new models for a while, so that they go elsewhere. It is not lost:
 * an engine of another kind may run there.
 */
function withProblem(report: DeviceReport, problem: HelixError | undefined): DeviceReport {
  if (report.kind === 'cpu' || report.health !== 'ok' || !problem) return report
  return { ...report, health: 'hot', reason: problem.publicMessage }
}

/** While loading, an engine that ends with a message has refused the file; one that a signal ended has not. */
function endedBySignal({ cause }: HelixError): boolean {
  const exit = cause as Partial<EngineEnd> | undefined
  return exit?.signal !== undefined
}
