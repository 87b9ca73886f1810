import type {
  DeviceReport,
  EngineExit,
  ModelFile,
  NodeClient,
  RunningEngineView,
  StartedEngine,
  StartOutcome,
  StartRequest,
} from '../../src/contracts/node.ts'
import { HelixError } from '../../src/core/errors.ts'

const MIB = 2 ** 20

/** A node by hand: the test decides how each start ends. */
export class HandNode implements NodeClient {
  starts: { request: StartRequest; finish: (outcome: StartOutcome) => void }[] = []
  stopped: string[] = []
  cached: string[] = []
  running: readonly RunningEngineView[] = []
  files: ModelFile[] = [file('a'), file('b')]
  private readonly unreckoned = new Set<string>()
  private estimating: Promise<void> | undefined
  private exit: (exit: EngineExit) => void = () => {}
  private tellDevices: (devices: readonly DeviceReport[]) => void = () => {}

  constructor(
    readonly nodeId = 'node',
    private reports: readonly DeviceReport[] = [deviceReport('cpu', 100 * MIB)],
  ) {}

  devices = async () => this.reports
  engines = async (): Promise<readonly RunningEngineView[]> => this.running
  cacheFile = async (model: string) => {
    this.cached.push(model)
  }
  listModels = async () => this.files
  estimate = async (model: string) => {
    await this.estimating
    if (this.unreckoned.has(model)) throw new HelixError('model_invalid', 'it cannot be reckoned')
    return { memoryBytes: 60 * MIB, perDeviceBytes: 0 }
  }
  engineProblem = () => undefined

  start(request: StartRequest): Promise<StartOutcome> {
    return new Promise((finish) => this.starts.push({ request, finish }))
  }

  async stop(instanceId: string): Promise<void> {
    this.stopped.push(instanceId)
  }

  watchExits(listener: (exit: EngineExit) => void): () => void {
    this.exit = listener
    return () => {}
  }

  watchDevices(listener: (devices: readonly DeviceReport[]) => void): () => void {
    this.tellDevices = listener
    listener(this.reports)
    return () => {}
  }

  changeDevices(reports: readonly DeviceReport[]): void {
    this.reports = reports
    this.tellDevices(reports)
  }

  async quarantine(model: string, reason: string): Promise<void> {
    this.files = this.files.map((one) => (one.name === model ? { ...one, quarantinedBecause: reason } : one))
  }

  async release(model: string): Promise<void> {
    this.files = this.files.map((one) =>
      one.name === model ? { ...one, quarantinedBecause: undefined } : one,
    )
  }

  /** Returns what lets them go on. */
  holdEstimates(): () => void {
    let goOn = () => {}
    this.estimating = new Promise((resolve) => {
      goOn = resolve
    })
    return () => goOn()
  }

  failEstimatesOf(model: string): void {
    this.unreckoned.add(model)
  }

  mendEstimatesOf(model: string): void {
    this.unreckoned.delete(model)
  }

  engineOf(): StartedEngine {
    const address = { url: 'http://localhost', socketPath: '/s', apiKey: 'k' }
    const facts = { contextLength: 64, supportsTools: false, vocabularySize: 10, revision: 'r1' }
    return { engine: 'llama-server', shares: undefined, address, ...facts }
  }

  ready(at: number): void {
    this.starts[at]?.finish({ kind: 'ready', engine: this.engineOf() })
  }

  /** The answer is lost, as it is when the connection breaks. */
  unreachable(at: number): void {
    const error = new HelixError('node_unavailable', 'The node cannot be reached.')
    this.starts[at]?.finish({ kind: 'gone', why: 'killed', error })
  }

  gone(at: number, why: 'crashed' | 'failed' | 'killed' | 'stopped'): void {
    this.starts[at]?.finish({ kind: 'gone', why, error: new HelixError('engine_failed', 'it did not start') })
  }

  crash(instanceId: string): void {
    this.exit({ instanceId, why: 'crashed', description: 'SIGSEGV' })
  }
}

export function file(name: string): ModelFile {
  return {
    name,
    engine: 'llama-server',
    sizeBytes: 1,
    sha256: undefined,
    revision: 'r1',
    source: undefined,
    addedAtMs: 0,
    architecture: 'llama',
    quantization: 'F16',
    trainedContextLength: 64,
    cached: false,
    quarantinedBecause: undefined,
    invalidBecause: undefined,
  }
}

export function deviceReport(id: string, totalBytes: number, own: Partial<DeviceReport> = {}): DeviceReport {
  return {
    ...{ id, kind: 'cpu', name: id, totalBytes, foreignBytes: 0, usedBytes: undefined, health: 'ok' },
    ...{ reason: undefined, clique: undefined, utilization: undefined },
    ...{ temperatureCelsius: undefined, powerWatts: undefined },
    ...own,
  }
}
