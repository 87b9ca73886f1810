import { setMaxListeners } from 'node:events'
import { type CallOptions, createClient, type Transport } from '@connectrpc/connect'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { noSpan, type Span } from '../core/tracing.ts'
import { EPOCH_METADATA } from './epoch.ts'
import { NodeService } from './gen/helixflow/v1/node_pb.ts'
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
} from './node.ts'
import {
  fromDeviceMessage,
  fromExitMessage,
  fromModelFileMessage,
  fromOutcomeMessage,
  fromRunningMessage,
  toShapeMessage,
  toStartMessage,
} from './node-messages.ts'
import { fromConnectError } from './rpc-errors.ts'

export interface NodeRpcClientOptions {
  readonly nodeId: string
  readonly transport: Transport
  /** Of the pool that calls; see `contracts/epoch.ts`. */
  readonly epoch: number
  /** Longest wait for an answer that needs no work. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}

const RECONNECT_DELAY_MIN_MS = 50
const RECONNECT_DELAY_MAX_MS = 2_000

/** A node of another machine, for the pool that leads. */
export class NodeRpcClient implements NodeClient {
  private readonly client
  private readonly stopping = new AbortController()
  private readonly watches = new Set<Promise<void>>()
  /** Instances that are ready there as far as is known here, so that an end that nobody heard of can be told. */
  private readonly ready = new Set<string>()
  /** Instances that are being started; with its end where that was heard before it was known to be ready. */
  private readonly starting = new Map<string, EngineExit | undefined>()
  private problem: HelixError | undefined
  private asking: Promise<void> | undefined

  constructor(private readonly options: NodeRpcClientOptions) {
    // Every call listens, and there may be many at the same time: to Node that looks like a leak.
    setMaxListeners(0, this.stopping.signal)
    this.client = createClient(NodeService, options.transport)
  }

  get nodeId(): string {
    return this.options.nodeId
  }

  async devices(): Promise<readonly DeviceReport[]> {
    const { devices } = await this.ask((options) => this.client.listDevices({}, options))
    return devices.map(fromDeviceMessage)
  }

  watchDevices(listener: (devices: readonly DeviceReport[]) => void): () => void {
    return this.watch('devices', async (options) => {
      for await (const { devices } of this.client.watchDevices({}, options)) {
        listener(devices.map(fromDeviceMessage))
      }
    })
  }

  async listModels(): Promise<readonly ModelFile[]> {
    const { files } = await this.ask((options) => this.client.listModelFiles({}, options))
    return files.map(fromModelFileMessage)
  }

  async estimate(model: string, shape: InstanceShape): Promise<MemoryNeed> {
    const request = { model, shape: toShapeMessage(shape) }
    const need = await this.work((options) => this.client.estimateMemory(request, options))
    return { memoryBytes: Number(need.memoryBytes), perDeviceBytes: Number(need.perDeviceBytes) }
  }

  async cacheFile(model: string): Promise<void> {
    await this.work((options) => this.client.cacheFile({ model }, options))
  }

  async engines(): Promise<readonly RunningEngineView[]> {
    const { engines } = await this.ask((options) => this.client.listEngines({}, options))
    const running = engines.map(fromRunningMessage)
    for (const { request } of running) this.ready.add(request.instanceId)
    return running
  }

  async start(request: StartRequest, span: Span = noSpan): Promise<StartOutcome> {
    const { instanceId } = request
    this.starting.set(instanceId, undefined)
    try {
      const start = toStartMessage(request)
      const answer = await this.work((options) =>
        this.client.startEngine(start, { ...options, headers: { ...options.headers, ...span.headers() } }),
      )
      const exit = this.starting.get(instanceId)
      if (exit)
        return { kind: 'gone', why: exit.why, error: new HelixError('engine_failed', exit.description) }
      const outcome = fromOutcomeMessage(answer)
      if (outcome.kind === 'ready') this.ready.add(instanceId)
      return outcome
    } catch (reason) {
      // Whatever became of it, the model is not to blame; a node that is still there ends it with the connection.
      return { kind: 'gone', why: 'killed', error: HelixError.from(reason) }
    } finally {
      this.starting.delete(instanceId)
    }
  }

  async stop(instanceId: string): Promise<void> {
    this.ready.delete(instanceId)
    await this.work((options) => this.client.stopEngine({ instanceId }, options))
  }

  watchExits(listener: (exit: EngineExit) => void): () => void {
    const tell = (exit: EngineExit) => {
      this.ready.delete(exit.instanceId)
      // It may be heard before the answer that says that it is ready, which comes another way.
      if (this.starting.has(exit.instanceId)) this.starting.set(exit.instanceId, exit)
      else listener(exit)
    }
    return this.watch('exits', async (options) => {
      for await (const { exit } of this.client.watchExits({}, options)) {
        if (exit) tell(fromExitMessage(exit))
        else for (const missed of await this.missedExits()) tell(missed)
      }
    })
  }

  async quarantine(model: string, reason: string): Promise<void> {
    await this.ask((options) => this.client.quarantineModel({ model, reason }, options))
  }

  async release(model: string): Promise<void> {
    await this.ask((options) => this.client.releaseModel({ model }, options))
  }

  /** As of the last time that it was asked about; asks again meanwhile. */
  engineProblem(): HelixError | undefined {
    this.asking ??= this.ask((options) => this.client.checkEngine({}, options))
      .then(
        () => undefined,
        (reason: unknown) => HelixError.from(reason),
      )
      .then((problem) => {
        this.problem = problem
        this.asking = undefined
      })
    return this.problem
  }

  /** Ends every call and watch; what the node runs goes on. */
  async close(): Promise<void> {
    this.stopping.abort()
    await Promise.all(this.watches)
  }

  /** What ended while nobody watched. */
  private async missedExits(): Promise<readonly EngineExit[]> {
    const known = [...this.ready]
    if (known.length === 0) return []
    const running = new Set((await this.engines()).map(({ request }) => request.instanceId))
    return known
      .filter((instanceId) => !running.has(instanceId))
      .map((instanceId) => ({
        ...{ instanceId, why: 'killed' },
        description: 'ended while its node was not heard',
      }))
  }

  /** A call that the node answers at once. */
  private ask<Answer>(call: (options: CallOptions) => Promise<Answer>): Promise<Answer> {
    return this.call(call, { timeoutMs: this.options.timeoutMs })
  }

  /** A call that takes as long as its work does. */
  private work<Answer>(call: (options: CallOptions) => Promise<Answer>): Promise<Answer> {
    return this.call(call, {})
  }

  private async call<Answer>(
    call: (options: CallOptions) => Promise<Answer>,
    limits: CallOptions,
  ): Promise<Answer> {
    try {
      return await call({ ...limits, ...this.calling(this.stopping.signal) })
    } catch (reason) {
      throw fromConnectError(reason, unreachable(this.nodeId, reason))
    }
  }

  private calling(signal: AbortSignal): CallOptions {
    return { signal, headers: { [EPOCH_METADATA]: String(this.options.epoch) } }
  }

  /** Begins again when it breaks, until it or the client is ended. */
  private watch(what: string, read: (options: CallOptions) => Promise<void>): () => void {
    const { clock, log } = this.options
    const ended = new AbortController()
    const signal = AbortSignal.any([ended.signal, this.stopping.signal])
    const run = async () => {
      for (let failures = 0; !signal.aborted; failures++) {
        try {
          await read(this.calling(signal))
        } catch (reason) {
          if (!signal.aborted) log.debug('node not heard', { node: this.nodeId, what, cause: String(reason) })
        }
        const waitMs = Math.min(RECONNECT_DELAY_MAX_MS, RECONNECT_DELAY_MIN_MS * 2 ** failures)
        // Rejects only when the watch is ended, which the loop sees.
        await delay(clock, waitMs, signal).catch(() => {})
      }
    }
    const running = run().finally(() => this.watches.delete(running))
    this.watches.add(running)
    return () => ended.abort()
  }
}

function unreachable(nodeId: string, cause: unknown): HelixError {
  return new HelixError('node_unavailable', `The node '${nodeId}' cannot be reached. Try again shortly.`, {
    internal: `node ${nodeId}: ${String(cause)}`,
    cause,
  })
}
