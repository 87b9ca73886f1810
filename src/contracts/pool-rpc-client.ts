import type { CallOptions, Transport } from '@connectrpc/connect'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { noSpan, type Span } from '../core/tracing.ts'
import { LeaderConnection, type PoolServiceClient } from './leader-connection.ts'
import type {
  DeviceView,
  Explanation,
  ModelDemand,
  ModelView,
  MoveReport,
  PoolClient,
  Replica,
  WaitView,
} from './pool.ts'
import {
  fromDeviceViewMessage,
  fromExplanationMessage,
  fromModelMessage,
  fromMovesMessage,
  fromNodeMessage,
  toDemandMessage,
} from './pool-messages.ts'
import type { NodeView } from './pool-service.ts'
import { ReplicaWatch } from './replica-watch.ts'
import { UseReports } from './use-reports.ts'
import { toMember } from './wire-values.ts'

export interface PoolRpcClientOptions {
  /** Name of this gateway, unlike that of every other. */
  readonly gateway: string
  /** Of every pool that may lead. */
  readonly urls: readonly string[]
  readonly open: (url: string) => Transport
  /** Longest wait for an answer that needs no work, and for a pool that leads. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}

const WAIT_CODES = ['model_loading', 'insufficient_memory'] as const

/** How long an answer to `acquire` may come before the table that shows the replica. */
const TABLE_WAIT_MS = 2_000

/** The pool of other machines, whichever of them leads, as a gateway sees it. */
export class PoolRpcClient implements PoolClient {
  private readonly connection: LeaderConnection
  private readonly table: ReplicaWatch
  private readonly uses: UseReports
  private readonly stopping = new AbortController()

  constructor(private readonly options: PoolRpcClientOptions) {
    this.connection = new LeaderConnection(options)
    const { connection } = this
    this.uses = new UseReports({ ...options, connection, table: () => this.table })
    this.table = new ReplicaWatch({ ...options, connection, uses: () => this.uses.all() })
  }

  async listModels(): Promise<readonly ModelView[]> {
    const { models } = await this.ask((client, options) => client.listModels({}, options))
    return models.map(fromModelMessage)
  }

  async showModel(name: string): Promise<ModelView> {
    const { model } = await this.ask((client, options) => client.showModel({ model: name }, options))
    return fromModelMessage(given(model))
  }

  async revision(model: string): Promise<string> {
    return (await this.ask((client, options) => client.getRevision({ model }, options))).revision
  }

  async acquire(model: string, signal: AbortSignal, span: Span = noSpan): Promise<void> {
    const { gateway } = this.options
    const headers = span.headers()
    await this.work(signal, (client, options) => client.acquire({ model, gateway }, { ...options, headers }))
    await this.shown(model, signal)
  }

  async explainWait(model: string): Promise<WaitView> {
    const view = await this.ask((client, options) => client.explainWait({ model }, options))
    const { code, reason, remainingMs } = view
    return { code: toMember(WAIT_CODES, code), reason, remainingMs }
  }

  async load(name: string, signal: AbortSignal): Promise<ModelView> {
    const { model } = await this.work(signal, (client, options) => client.loadModel({ model: name }, options))
    return fromModelMessage(given(model))
  }

  async unload(name: string, signal: AbortSignal): Promise<ModelView> {
    const { model } = await this.work(signal, (client, options) =>
      client.unloadModel({ model: name }, options),
    )
    return fromModelMessage(given(model))
  }

  watchReplicas(listener: (replicas: readonly Replica[]) => void): () => void {
    return this.table.subscribe((replicas) => {
      listener(replicas)
      // What this gateway was told it now abides by.
      this.uses.confirm()
    })
  }

  reportUse(replicaId: string, inFlight: number): void {
    this.uses.report(replicaId, inFlight)
  }

  reportDemand(demand: readonly ModelDemand[]): void {
    const request = { gateway: this.options.gateway, models: demand.map(toDemandMessage) }
    this.ask((client, options) => client.reportDemand(request, options)).catch((reason) =>
      this.options.log.debug('demand not reported', { cause: String(reason) }),
    )
  }

  async explain(model: string): Promise<Explanation> {
    return fromExplanationMessage(
      await this.ask((client, options) => client.explainModel({ model }, options)),
    )
  }

  async listDevices(): Promise<readonly DeviceView[]> {
    const { devices } = await this.ask((client, options) => client.listPoolDevices({}, options))
    return devices.map(fromDeviceViewMessage)
  }

  async listNodes(): Promise<readonly NodeView[]> {
    const { nodes } = await this.ask((client, options) => client.listNodes({}, options))
    return nodes.map(fromNodeMessage)
  }

  async planMoves(model: string): Promise<MoveReport> {
    const { report } = await this.ask((client, options) => client.planMoves({ model }, options))
    return fromMovesMessage(given(report))
  }

  async defragment(model: string, signal: AbortSignal): Promise<MoveReport> {
    const { report } = await this.work(signal, (client, options) => client.defragment({ model }, options))
    return fromMovesMessage(given(report))
  }

  async journal(): Promise<object> {
    const { journal } = await this.ask((client, options) => client.readJournal({}, options))
    return JSON.parse(journal)
  }

  /** While no pool leads, what is ready goes on being served. */
  async unavailability(): Promise<HelixError | undefined> {
    try {
      await this.connection.call((client, options) => client.checkAvailability({}, options), {
        ...{ signal: this.stopping.signal, patienceMs: 0, timeoutMs: this.options.timeoutMs },
      })
      return undefined
    } catch (reason) {
      const error = HelixError.from(reason)
      const isServing = error.code === 'pool_unavailable' && this.table.replicas.length > 0
      return isServing ? undefined : error
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    this.connection.stop()
    await this.table.stop()
    this.uses.stop()
  }

  private ask<Answer>(
    call: (client: PoolServiceClient, options: CallOptions) => Promise<Answer>,
  ): Promise<Answer> {
    const { timeoutMs } = this.options
    const { signal } = this.stopping
    return this.connection.call(call, { signal, patienceMs: timeoutMs, timeoutMs })
  }

  /** A call that takes as long as its work does, through as many leaders as it needs. */
  private work<Answer>(
    asker: AbortSignal,
    call: (client: PoolServiceClient, options: CallOptions) => Promise<Answer>,
  ): Promise<Answer> {
    const signal = AbortSignal.any([asker, this.stopping.signal])
    return this.connection.call(call, { signal, patienceMs: Number.POSITIVE_INFINITY })
  }

  /** The table comes another way than answers do: waits until it shows a replica of the model, within reason. */
  private shown(model: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        cancel()
        unwatch()
        signal.removeEventListener('abort', onAbort)
        settle()
      }
      const onAbort = () => end(() => reject(signal.reason))
      let isShown = false
      let unwatch = () => {}
      let cancel = () => {}
      const look = (replicas: readonly Replica[]) => {
        if (isShown || !replicas.some((one) => one.model === model)) return
        isShown = true
        // Not within the call that began the watch.
        queueMicrotask(() => end(resolve))
      }
      cancel = this.options.clock.schedule(TABLE_WAIT_MS, () => end(resolve))
      unwatch = this.table.subscribe(look)
      signal.addEventListener('abort', onAbort, { once: true })
      if (signal.aborted) onAbort()
    })
  }
}

function given<Part>(part: Part | undefined): Part {
  if (part !== undefined) return part
  throw new HelixError('pool_unavailable', 'The inference pool answered with nothing.')
}
