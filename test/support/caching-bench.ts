import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'vitest'
import { noCacheMetrics } from '../../src/cache/cache-metrics.ts'
import type { CachePolicy } from '../../src/cache/cache-rules.ts'
import { Invalidations } from '../../src/cache/invalidations.ts'
import { LayeredCache, type SharedLayer } from '../../src/cache/layered-cache.ts'
import { boundedMap, MemoryLayer } from '../../src/cache/memory-layer.ts'
import { ExactIndex } from '../../src/cache/semantic/exact-index.ts'
import type { VectorIndex } from '../../src/cache/semantic/vector-index.ts'
import type { Identity } from '../../src/contracts/auth.ts'
import { ChatRequest } from '../../src/contracts/openai/chat.ts'
import { CompletionRequest } from '../../src/contracts/openai/completions.ts'
import { EmbeddingRequest } from '../../src/contracts/openai/embeddings.ts'
import { NO_RIGHTS } from '../../src/contracts/permissions.ts'
import type { PoolClient, Replica } from '../../src/contracts/pool.ts'
import type { Clock } from '../../src/core/clock.ts'
import { HelixError } from '../../src/core/errors.ts'
import { noMetrics } from '../../src/core/metrics.ts'
import { noSpan } from '../../src/core/tracing.ts'
import { CachingDispatch } from '../../src/gateway/caching/caching-dispatch.ts'
import { ModelRevisions } from '../../src/gateway/caching/model-revisions.ts'
import { SemanticLookup } from '../../src/gateway/caching/semantic-lookup.ts'
import { chatExchange } from '../../src/gateway/dispatch/chat-exchange.ts'
import { completionExchange } from '../../src/gateway/dispatch/completion-exchange.ts'
import { Dispatch } from '../../src/gateway/dispatch/dispatch.ts'
import { embeddingExchange } from '../../src/gateway/dispatch/embedding-exchange.ts'
import { EngineClients } from '../../src/gateway/dispatch/engine-client.ts'
import { EventStream } from '../../src/gateway/dispatch/event-stream.ts'
import type { Exchange } from '../../src/gateway/dispatch/exchange.ts'
import { ClientRecipient } from '../../src/gateway/dispatch/recipient.ts'
import { Router } from '../../src/gateway/dispatch/router.ts'
import type { Settlement } from '../../src/gateway/dispatch/settlement.ts'
import { UpstreamHealth } from '../../src/gateway/dispatch/upstream-health.ts'
import { systemClock } from '../../src/system.ts'
import { post, type RawAnswer, type RawPost } from './raw-client.ts'
import { chatAnswer, ScriptedUpstream, sendStream, sendWhole, wholeStream } from './scripted-upstream.ts'

export interface CachingBenchOptions {
  readonly policy?: Partial<CachePolicy>
  readonly share?: 'project' | 'organisation'
  readonly memoryBytes?: number
  readonly answerBytesMax?: number
  /** Of the cache: how old answers are. */
  readonly clock?: Clock
  readonly shared?: (invalidations: Invalidations) => SharedLayer
  /** Of questions; in memory unless it says otherwise. */
  readonly index?: VectorIndex
  readonly requestDeadlineMs?: number
  readonly stallTimeoutMs?: number
}

/** A request as the bench saw it. */
export interface Seen {
  readonly label: string
  readonly settlements: Settlement[]
  end(reason: HelixError): void
  /** Resolves when its part in the engine's work is over. */
  readonly over: Promise<void>
}

/** The caching dispatcher behind bare HTTP, before an upstream that a script plays. Headers say who asks. */
export class CachingBench {
  readonly seen: Seen[] = []
  readonly behind: Settlement[] = []
  readonly invalidations = new Invalidations()
  readonly memory: MemoryLayer
  readonly cache: LayeredCache
  readonly caching: CachingDispatch
  /** What recording the cost of a request does; may be changed. */
  record: (label: string, settlement: Settlement) => void = () => {}
  /** What the model is made of; may be changed. */
  revision = 'r1'
  private readonly clients = new EngineClients()
  private readonly router: Router
  private readonly revisions: ModelRevisions
  private readonly server: Server
  private readonly stopBeats = EventStream.keepAlive(5_000)
  /** The router first: it is what watches first. */
  private readonly watchers: ((replicas: readonly Replica[]) => void)[] = []

  private constructor(
    readonly upstream: ScriptedUpstream,
    options: CachingBenchOptions,
  ) {
    const pool = this.pool()
    const clock = systemClock
    this.router = new Router({
      pool,
      clock,
      metrics: noMetrics,
      fairness: 'tokens',
      queueMax: 1_000,
      queueTimeoutMs: 5_000,
      loadWaitMs: 1_000,
    })
    const requestDeadlineMs = options.requestDeadlineMs ?? 8_000
    const stallTimeoutMs = options.stallTimeoutMs ?? 4_000
    const limits = {
      firstByteTimeoutMs: 4_000,
      stallTimeoutMs,
      requestDeadlineMs,
      waitNoticeMs: 1_000,
      tracesUpstreams: false,
    }
    const dispatch = new Dispatch({
      router: this.router,
      upstreams: new UpstreamHealth(clock, noMetrics),
      clients: this.clients,
      clock,
      ...limits,
    })
    this.memory = new MemoryLayer(boundedMap(options.memoryBytes ?? 2 ** 24))
    const { invalidations } = this
    this.cache = new LayeredCache({
      memory: this.memory,
      shared: options.shared?.(invalidations),
      invalidations,
      clock: options.clock ?? clock,
      metrics: noCacheMetrics,
    })
    this.revisions = new ModelRevisions(pool, clock)
    const index = options.index ?? new ExactIndex({ entriesMax: 100, bytesMax: 2 ** 20, clock })
    const common = { dispatch, cache: this.cache, clock: options.clock ?? clock, metrics: noCacheMetrics }
    this.caching = new CachingDispatch({
      dispatch,
      semantic: new SemanticLookup({ ...common, index }),
      cache: this.cache,
      policy: { ttlMs: 60_000, staleMs: 0, rules: [], ...options.policy },
      share: options.share ?? 'project',
      answerBytesMax: options.answerBytesMax ?? 2 ** 20,
      revisions: this.revisions,
      clock: options.clock ?? clock,
      metrics: noCacheMetrics,
      requestDeadlineMs,
      stallTimeoutMs,
    })
    this.server = createServer((request, response) => void this.serve(request, response))
  }

  static async start(options: CachingBenchOptions = {}): Promise<CachingBench> {
    const upstream = await ScriptedUpstream.start((call) => {
      if (JSON.parse(call.body).stream) void sendStream(call, wholeStream(3))
      else sendWhole(call, chatAnswer('hi'))
    })
    const bench = new CachingBench(upstream, options)
    await new Promise<void>((resolve) => bench.server.listen(0, '127.0.0.1', resolve))
    return bench
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    await this.caching.stop()
    await this.cache.stop()
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
    this.stopBeats()
    this.revisions.stop()
    this.router.stop()
    await this.clients.stop()
    await this.upstream.stop()
  }

  /** The model's file was replaced, and loaded. */
  replaceModel(revision: string): void {
    this.revision = revision
    for (const tell of this.watchers) tell(this.replicas())
  }

  /** The router has another engine already, and whoever makes keys has not heard of it. */
  replaceModelUnnoticed(revision: string): void {
    this.revision = revision
    this.watchers[0]?.(this.replicas())
  }

  /** A deterministic chat request. */
  ask(change: object = {}, options: Omit<RawPost, 'body'> = {}): Promise<RawAnswer> {
    const body = { model: 'far', messages: [{ role: 'user', content: 'Hello' }], temperature: 0, ...change }
    return this.post('/v1/chat/completions', body, options)
  }

  post(path: string, body: object, options: Omit<RawPost, 'body'> = {}): Promise<RawAnswer> {
    return post(`${this.url}${path}`, { ...options, body: JSON.stringify(body) })
  }

  /** The requests of this label that came so far. */
  of(label: string): Seen[] {
    return this.seen.filter((one) => one.label === label)
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const route = request.url ?? ''
    const label = String(request.headers['x-label'] ?? '')
    const settlements: Settlement[] = []
    let finish = () => {}
    const over = new Promise<void>((resolve) => {
      finish = resolve
    })
    const one = { label, settlements, over, end: (_reason: HelixError) => {} }
    this.seen.push(one)
    try {
      const exchange = exchangeOf(route, JSON.parse(Buffer.concat(parts).toString('utf8')))
      await this.caching.run(exchange, {
        recipient: (headers) => new ClientRecipient(response, () => headers),
        identity: identityOf(request),
        tenant: identityOf(request).projectId,
        span: noSpan,
        route,
        requestHeaders: request.headers,
        begun: (end) => {
          one.end = end
        },
        settled: (settlement) => {
          this.record(label, settlement)
          settlements.push(settlement)
        },
        behind: () => ({
          tenant: 'proj_a',
          settled: (settlement) => void this.behind.push(settlement),
          close: () => {},
        }),
      })
    } catch (reason) {
      const error = HelixError.from(reason)
      response
        .writeHead(error.status, { 'content-type': 'application/json' })
        .end(JSON.stringify(error.toBody()))
    } finally {
      finish()
    }
  }

  private replicas(): readonly Replica[] {
    const { url } = this.upstream
    return [replicaAt(url, 'far', this.revision), replicaAt(url, 'embedder', 'e1')]
  }

  private pool(): PoolClient {
    const unused = () => expect.unreachable('nothing asks this')
    return {
      listModels: unused,
      showModel: unused,
      load: unused,
      unload: unused,
      explain: unused,
      listDevices: unused,
      planMoves: unused,
      journal: unused,
      defragment: unused,
      reportDemand: () => {},
      unavailability: unused,
      revision: async () => this.revision,
      acquire: async () => {},
      explainWait: unused,
      watchReplicas: (listener) => {
        this.watchers.push(listener)
        listener(this.replicas())
        return () => {}
      },
      reportUse: () => {},
    }
  }
}

function exchangeOf(route: string, body: unknown): Exchange {
  if (route === '/v1/chat/completions') return chatExchange(ChatRequest.parse(body))
  if (route === '/v1/completions') return completionExchange(CompletionRequest.parse(body))
  return embeddingExchange(EmbeddingRequest.parse(body))
}

function identityOf({ headers }: IncomingMessage): Identity {
  const named = (name: string, otherwise: string) => String(headers[name] ?? otherwise)
  return {
    actor: 'key:k',
    organisationId: named('x-tenant', 'org_a'),
    projectId: named('x-project', 'proj_a'),
    keyId: 'k',
    userId: undefined,
    rights: NO_RIGHTS,
    models: undefined,
    ipRules: undefined,
    limits: [],
    expiresAtMs: undefined,
    subjects: [],
  }
}

function replicaAt(url: string, model: string, revision: string): Replica {
  const address = { url: url.replace(/\/v1$/, ''), socketPath: undefined, apiKey: undefined }
  const unknown = {
    contextLength: undefined,
    supportsTools: undefined,
    vocabularySize: undefined,
    continues: false,
  }
  return {
    id: `${model}-${revision}`,
    model,
    engineModel: model,
    engine: 'upstream',
    address,
    slots: 64,
    ...unknown,
    revision,
  }
}
