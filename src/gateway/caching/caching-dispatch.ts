import type { IncomingHttpHeaders } from 'node:http'
import type { CacheMetrics } from '../../cache/cache-metrics.ts'
import {
  type CacheDecision,
  type CachePolicy,
  decideCaching,
  type SemanticRule,
} from '../../cache/cache-rules.ts'
import { type CachedAnswer, freshness } from '../../cache/cached-answer.ts'
import { modelName, tagName } from '../../cache/invalidations.ts'
import type { LayeredCache } from '../../cache/layered-cache.ts'
import { canonicalRequest, type KeyParts, responseKey } from '../../cache/response-key.ts'
import { SingleFlight } from '../../cache/single-flight.ts'
import type { Identity } from '../../contracts/auth.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { spanned } from '../../core/tracing.ts'
import { isBefore } from '../../scheduler/tier.ts'
import type { Caller, Dispatch } from '../dispatch/dispatch.ts'
import type { Cacheable, Exchange } from '../dispatch/exchange.ts'
import { CACHE_HEADER, type CacheWishes, readWishes } from './cache-wishes.ts'
import { FlightRun, type Landed } from './flight-run.ts'
import { giveKept } from './kept-answer.ts'
import type { ModelRevisions } from './model-revisions.ts'
import { type Behind, RefreshPassenger } from './refresh-passenger.ts'
import { type Likeness, likenessOf, type SemanticLookup } from './semantic-lookup.ts'
import { Subscriber } from './subscriber.ts'

export interface CachingDispatchParts {
  readonly dispatch: Dispatch
  readonly cache: LayeredCache
  readonly policy: CachePolicy
  readonly share: 'project' | 'organisation'
  readonly semantic: SemanticLookup
  /** A larger answer is not kept. */
  readonly answerBytesMax: number
  readonly revisions: ModelRevisions
  readonly clock: Clock
  readonly metrics: CacheMetrics
  readonly requestDeadlineMs: number
  readonly stallTimeoutMs: number
}

/** Who asks, and what decides which answers are theirs. */
export interface CachingCaller extends Caller {
  readonly identity: Identity
  readonly route: string
  readonly requestHeaders: IncomingHttpHeaders
  /** Who pays for a new answer that is made behind one that was given; undefined when nobody can pay for it. */
  behind(exchange: Exchange): Behind | undefined
}

/** A request that the cache takes part in. */
interface Query {
  readonly exchange: Exchange
  readonly cacheable: Cacheable
  readonly caller: CachingCaller
  readonly decision: CacheDecision
  readonly tenant: string
  readonly key: string
  readonly parts: KeyParts
  readonly revision: string
  readonly names: readonly string[]
  /** Under which likeness its answer can be found again. */
  readonly learned?: { readonly like: Likeness; readonly vector: Float32Array }
}

/** A flight that others may join. */
interface Open {
  readonly run: FlightRun
  /** Of all who joined it. */
  readonly names: Set<string>
  /** The tenant's epoch when it began. */
  readonly epoch: number
}

/** How a request was answered, for its header. */
type CacheState = 'hit' | 'stale' | 'miss' | 'coalesced' | 'bypass'

/**
 * Dispatch with a memory: an answer that is there is given again, requests that are the same at the same time share one,
 * and everything else goes to an engine as it did.
 */
export class CachingDispatch {
  private readonly flights = new SingleFlight<Open>()
  private readonly subscribers = new Set<Subscriber>()
  private readonly running = new Set<Promise<void>>()

  constructor(private readonly parts: CachingDispatchParts) {}

  /**
   * Whatever fails, fails in the promise: by that alone its caller gives back what it holds.
   * @throws HelixError as `Dispatch.run`; `invalid_value` for headers that are none
   */
  async run(exchange: Exchange, caller: CachingCaller): Promise<void> {
    const { dispatch, policy, revisions, metrics } = this.parts
    const { cacheable, model } = exchange
    if (!cacheable) return dispatch.run(exchange, caller)
    const wishes = readWishes(caller.requestHeaders)
    const decision = decideCaching(policy, {
      model,
      route: caller.route,
      deterministic: cacheable.deterministic,
      wish: wishes.wish,
      ttlMs: wishes.ttlMs,
    })
    if (!decision) {
      metrics.request('memory', 'bypass')
      return this.bypass(exchange, caller)
    }
    const revision = revisions.of(model)
    if (typeof revision === 'string')
      return this.answer(this.queryOf(exchange, cacheable, { caller, decision, wishes, revision }))
    return revision.then(
      (found) =>
        this.answer(this.queryOf(exchange, cacheable, { caller, decision, wishes, revision: found })),
      // Who asks for a model that is not there is told so as without a cache.
      () => this.bypass(exchange, caller),
    )
  }

  /** Ends what still runs: each caller is told, none gets a clean end. */
  async stop(): Promise<void> {
    await this.parts.dispatch.stop()
    const error = new HelixError(
      'server_draining',
      'The server was shut down before the answer was complete.',
    )
    for (const subscriber of this.subscribers) subscriber.failed(error)
    await Promise.all(this.running)
  }

  private bypass(exchange: Exchange, caller: CachingCaller): Promise<void> {
    return this.parts.dispatch.run(exchange, {
      tenant: caller.tenant,
      span: caller.span,
      begun: (end) => caller.begun(end),
      recipient: (headers) => caller.recipient({ ...headers, [CACHE_HEADER]: 'bypass' }),
      settled: (settlement) => caller.settled(settlement),
    })
  }

  private queryOf(
    exchange: Exchange,
    cacheable: Cacheable,
    asked: {
      readonly caller: CachingCaller
      readonly decision: CacheDecision
      readonly wishes: CacheWishes
      readonly revision: string
    },
  ): Query {
    const { caller, decision, wishes, revision } = asked
    const { organisationId: tenant, projectId } = caller.identity
    const { model } = exchange
    const scope = this.parts.share === 'project' ? `project:${projectId}` : 'organisation'
    const request = canonicalRequest(cacheable.request)
    const parts = { tenant, scope, model, revision, route: caller.route, request }
    const key = responseKey(parts)
    const names = [modelName(model), ...wishes.tags.map(tagName)]
    return { exchange, cacheable, caller, decision, tenant, key, parts, revision, names }
  }

  private answer(query: Query): Promise<void> {
    if (!query.decision.look) return this.fly(query)
    const span = query.caller.span.child('look into the cache', 'internal')
    const kept = this.parts.cache.get(query.tenant, query.key)
    if (!(kept instanceof Promise)) {
      span.set({ 'helixflow.cache.found': kept !== undefined })
      span.end()
      return this.lookedUp(query, kept)
    }
    return spanned(span, kept).then((found) => this.lookedUp(query, found))
  }

  private async lookedUp(query: Query, kept: CachedAnswer | undefined): Promise<void> {
    const { clock, metrics } = this.parts
    const nowMs = clock.now()
    const fresh = kept ? freshness(kept, query.decision, nowMs) : 'expired'
    if (kept && fresh !== 'expired') {
      const state = fresh === 'fresh' ? 'hit' : 'stale'
      const age = ageSeconds(kept, nowMs)
      const given = giveKept(
        kept,
        query.cacheable.kind,
        this.reader(query, { [CACHE_HEADER]: state, age: `${age}` }),
      )
      if (given !== 'unfit') {
        metrics.request('memory', state)
        if (state === 'stale') this.refresh(query)
        await given
        return
      }
    }
    const { semantic } = query.decision
    if (semantic && !this.flights.get(query.key)) await this.answerAlike(query, semantic)
    else await this.join(query)
  }

  /** With the answer to a question that says the same in other words, where there is one. */
  private async answerAlike(query: Query, rule: SemanticRule): Promise<void> {
    const { semantic, clock, revisions } = this.parts
    const { cacheable, parts, decision: age, caller } = query
    const embedderRevision = await Promise.resolve(revisions.of(rule.model)).catch(() => undefined)
    const like =
      embedderRevision === undefined
        ? undefined
        : likenessOf(parts, cacheable.request, { rule, age, embedderRevision })
    if (!like) {
      await this.join(query)
      return
    }
    const span = caller.span.child('look for a like question', 'internal')
    const finding = semantic.find(like, (exchange) => caller.behind(exchange), span)
    const { found, vector } = await spanned(span, finding)
    if (found) {
      const headers = {
        [CACHE_HEADER]: 'semantic',
        'x-helixflow-cache-similarity': found.similarity.toFixed(4),
        age: `${ageSeconds(found.answer, clock.now())}`,
      }
      const given = giveKept(found.answer, cacheable.kind, this.reader(query, headers))
      if (given !== 'unfit') {
        await given
        return
      }
    }
    await this.join(vector ? { ...query, learned: { like, vector } } : query)
  }

  /** With those who ask the same at this moment. */
  private join(query: Query): Promise<void> {
    const { cache, metrics } = this.parts
    const open = this.flights.get(query.key)
    // What was invalidated since it began is no answer for who asks now.
    if (!open || !cache.isCurrent(query.tenant, [...open.names], open.epoch)) return this.fly(query)
    // Nor does who is in a hurry wait with one who is not.
    if (isBefore(query.exchange.tier, open.run.tier)) return this.fly(query)
    for (const name of query.names) open.names.add(name)
    metrics.request('memory', 'coalesced')
    return this.board(query, open.run, 'coalesced')
  }

  private fly(query: Query): Promise<void> {
    this.parts.metrics.request('memory', 'miss')
    const run = this.prepare(query)
    const boarded = this.board(query, run, 'miss')
    this.start(run)
    return boarded
  }

  private async board(query: Query, run: FlightRun, state: CacheState): Promise<void> {
    const { exchange, caller } = query
    const cache = state === 'coalesced' ? ('coalesced' as const) : undefined
    const subscriber = new Subscriber({
      ...this.reader(query, { [CACHE_HEADER]: state }),
      source: run,
      cache,
    })
    this.subscribers.add(subscriber)
    try {
      run.board(subscriber)
      if ((await subscriber.done) === 'unfit') await this.bypass(exchange, caller)
    } finally {
      this.subscribers.delete(subscriber)
    }
  }

  /** A new answer for those who come later; nobody waits for it. */
  private refresh(query: Query): void {
    if (this.flights.get(query.key)) return
    const behind = query.caller.behind(query.exchange)
    if (!behind) return
    const run = this.prepare(query)
    run.board(new RefreshPassenger(behind))
    this.start(run)
  }

  private prepare(query: Query): FlightRun {
    const { dispatch, cache, answerBytesMax } = this.parts
    const { exchange, cacheable, tenant, key } = query
    const run = new FlightRun({
      dispatch,
      exchange,
      tenant: query.caller.tenant,
      span: query.caller.span,
      kind: cacheable.kind,
      bytesMax: answerBytesMax,
      closed: () => this.flights.end(key, open),
      landed: (answer) => this.keep(query, open, answer),
    })
    // From here on: what is invalidated while the answer is made makes it old.
    const open: Open = { run, names: new Set(query.names), epoch: cache.epoch(tenant) }
    this.flights.begin(key, open)
    return run
  }

  private start(run: FlightRun): void {
    const flying = run.fly()
    this.running.add(flying)
    void flying.finally(() => this.running.delete(flying))
  }

  private keep(query: Query, { names, epoch }: Open, { isStream, body, usage, revision }: Landed): void {
    // The model's file was replaced in between: the answer is not of what the key says.
    if (revision !== query.revision) return
    const { cache, clock } = this.parts
    const { tenant, decision, learned } = query
    const { ttlMs, staleMs } = decision
    cache.set(tenant, query.key, {
      tenant,
      names: [...names],
      epoch,
      storedAtMs: clock.now(),
      ttlMs,
      staleMs,
      form: isStream ? 'stream' : 'whole',
      usage,
      body,
    })
    // Afterwards: another gateway that finds the question looks for the answer at once.
    if (learned)
      this.parts.semantic.learn(learned.like, { key: query.key, vector: learned.vector, keepMs: ttlMs })
  }

  private reader({ exchange, caller }: Query, headers: Readonly<Record<string, string>>) {
    const { clock, requestDeadlineMs, stallTimeoutMs } = this.parts
    return {
      recipient: caller.recipient(headers),
      asker: caller,
      wantsStream: exchange.stream,
      includeUsage: exchange.includeUsage,
      clock,
      deadlineMs: requestDeadlineMs,
      stallTimeoutMs,
    }
  }
}

function ageSeconds({ storedAtMs }: CachedAnswer, nowMs: number): number {
  return Math.max(0, Math.floor((nowMs - storedAtMs) / 1000))
}
