import type { Identity } from '../../contracts/auth.ts'
import type { EffectiveLimit, SpendClient } from '../../contracts/limits.ts'
import type { Price } from '../../contracts/prices.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import { type Span, spanned } from '../../core/tracing.ts'
import type { Shaper } from '../../limits/shaper.ts'
import {
  type Charge,
  type LimitStore,
  RENEW_EVERY_MS,
  type Reservation,
  type Verdict,
} from '../../limits/store.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import type { Presence } from '../dispatch/recipient.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import { type Binding, bindingsOf } from './bindings.ts'
import { BudgetDrift } from './budget-drift.ts'
import { limitError } from './denial.ts'
import { bindingsToExplain, type ExplainedLimit, explained } from './explain.ts'
import { rateHeaders } from './rate-headers.ts'
import { actualCost, costFor, lessOutput, type WorstCase, worstCase } from './worst-case.ts'

export interface LimitGateOptions {
  readonly store: LimitStore
  /** Which kind of store decides at the moment, for the metric. */
  readonly storeName: () => string
  readonly shaper: Shaper
  readonly spend: SpendClient
  readonly price: (model: string) => Price | undefined
  /** Tokens of prompt and answer together; undefined while nobody has said so. */
  readonly contextLength: (model: string) => number | undefined
  /** What an answer may have where nothing else says so. */
  readonly outputTokens: number
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
}

export interface LimitedRequest {
  readonly requestId: string
  readonly identity: Identity
  readonly exchange: Exchange
  /** Whose leaving, while the request waits, is the end of the waiting. */
  readonly client: Presence
  /** Of which a wait for limits is a part. */
  readonly span: Span
}

/** A request that its limits let in. */
export interface Admission {
  /** What is asked of the engine: the request's own, with the length that its answer may have. */
  readonly exchange: Exchange
  readonly headers: Readonly<Record<string, string>>
  /** What it really used replaces what was reserved. Once. */
  settle(settlement: Settlement | undefined): void
}

export interface DoneBeside {
  /** Its own, not that of the request beside which it was done. */
  readonly requestId: string
  readonly usage: Settlement['usage']
}

/** How a request was decided, and under which reservation. */
interface Decided extends Verdict {
  readonly reservation: Reservation
  readonly waited?: boolean
}

/** Holds requests to the rules that bind their callers. */
export class LimitGate {
  private readonly running = new Map<string, Reservation>()
  private readonly drift: BudgetDrift
  /** Ends the waits of those who are in a line. */
  private readonly waiting = new Set<(reason: HelixError) => void>()
  private stopped = false
  private cancel = () => {}

  constructor(private readonly options: LimitGateOptions) {
    this.drift = new BudgetDrift(options)
    this.renewLater()
  }

  /**
   * @throws HelixError `rate_limit_exceeded`, `concurrency_limit_exceeded`, `request_exceeds_limit`,
   *   `insufficient_quota`; `storage_unavailable` when a budget is nowhere to be known
   */
  admit(request: LimitedRequest): Admission | Promise<Admission> {
    const { identity, exchange } = request
    if (identity.limits.length === 0) return unlimited(exchange)
    const bindings = bindingsOf(identity, exchange.model, this.options.clock.now())
    if (bindings.length === 0) return unlimited(exchange)
    return this.limit(request, bindings)
  }

  /** What is left of rules, for a model or for all. @throws HelixError `storage_unavailable` */
  async explain(
    organisationId: string,
    limits: readonly EffectiveLimit[],
    model: string | undefined,
  ): Promise<readonly ExplainedLimit[]> {
    const { store, clock } = this.options
    const nowMs = clock.now()
    const bindings = bindingsToExplain(limits, model, nowMs)
    const charges = bindings.map((one) => chargeOf(one, 0))
    const budgets = charges.flatMap(({ kind }, place) => (kind === 'budget' ? [place] : []))
    const whole = { tenant: organisationId, requestId: '', charges, held: false }
    if (budgets.length > 0) await this.seed(whole, budgets)
    return explained(bindings, await store.peek(organisationId, charges), nowMs)
  }

  /** Reservations that are open at the moment. */
  open(): readonly Reservation[] {
    return [...this.running.values()]
  }

  /** Renews no more, and ends all waits: whoever waits is told to ask elsewhere. */
  stop(): void {
    this.stopped = true
    this.cancel()
    this.drift.stop()
    const text = 'The server was shut down before the request had its turn.'
    for (const end of this.waiting) end(new HelixError('server_draining', text))
  }

  private async limit(request: LimitedRequest, bindings: readonly Binding[]): Promise<Admission> {
    const { requestId, identity, exchange } = request
    const { clock, outputTokens } = this.options
    const price = this.options.price(exchange.model)
    const facts = { price, contextLength: this.options.contextLength(exchange.model) }
    const sized = bindings.some(({ rule }) => rule.measure !== 'requests' && rule.measure !== 'concurrency')
    const wanted = (name: string, most: WorstCase): Reservation => ({
      tenant: identity.organisationId,
      requestId: name,
      held: bindings.some(({ rule }) => rule.measure !== 'requests'),
      charges: bindings.map((one) => chargeOf(one, costFor(one, most, price))),
    })
    let worst = sized ? worstCase(exchange, bindings, facts, outputTokens) : NOTHING
    const startMs = clock.monotonic()
    let decided = await this.decide(request, wanted(requestId, worst), bindings)
    const less =
      decided.refused === undefined
        ? undefined
        : lessOutput(exchange, bindings, worst, { standings: decided.standings, price })
    if (less) {
      worst = less
      decided = await this.decide(request, wanted(`${requestId}.less`, less), bindings)
    }
    const { reservation, ...verdict } = decided
    const shapedMs = clock.monotonic() - startMs
    this.count(bindings, verdict)
    const refusing = verdict.refused === undefined ? undefined : bindings[verdict.refused]
    if (refusing) throw limitError(refusing, verdict, bindings, clock.now())
    if (reservation.held) this.running.set(reservation.requestId, reservation)
    for (const [place, { period }] of bindings.entries()) {
      const charge = reservation.charges[place]
      if (charge && period) this.drift.began(reservation.tenant, charge, period.endMs)
    }
    const headers = rateHeaders(bindings, verdict.standings)
    if (verdict.waited) headers['x-helixflow-shaped-ms'] = String(Math.round(shapedMs))
    const { outputTokensPerChoice } = worst
    return {
      exchange: outputTokensPerChoice === undefined ? exchange : bounded(exchange, outputTokensPerChoice),
      headers,
      settle: (settlement) => this.settle(reservation, bindings, settlement, price),
    }
  }

  /** Decides at once, or after its turn where the rule that refuses would rather have it wait. */
  private async decide(
    request: LimitedRequest,
    reservation: Reservation,
    bindings: readonly Binding[],
  ): Promise<Decided> {
    const { shaper } = this.options
    const shaped = bindings.filter(({ rule }) => rule.shapeMaxWaitMs > 0)
    const inLine = shaped.find(({ key }) => shaper.waitOf(lineOf(reservation, key)) !== undefined)
    const first = inLine ? this.behindOthers(reservation, bindings, inLine) : await this.reserve(reservation)
    const refusing = first.refused === undefined ? undefined : bindings[first.refused]
    if (!refusing || refusing.rule.shapeMaxWaitMs === 0 || this.stopped) return { ...first, reservation }
    if (!inLine && first.waitMs > refusing.rule.shapeMaxWaitMs) return { ...first, reservation }
    const { measure, subject } = refusing.rule
    const span = request.span.child('wait for limits', 'internal', {
      'helixflow.limit.measure': measure,
      'helixflow.limit.subject': subject.kind,
    })
    const waited = this.waitInLine(request, { reservation, bindings, refusing, first })
    const decided = await spanned(span, waited)
    if (decided.refused === undefined || decided.standings.length > 0) return decided
    const { tenant, charges } = reservation
    return { ...decided, standings: await this.options.store.peek(tenant, charges) }
  }

  private async waitInLine(
    { identity, client }: LimitedRequest,
    asked: {
      readonly reservation: Reservation
      readonly bindings: readonly Binding[]
      readonly refusing: Binding
      readonly first: Verdict
    },
  ): Promise<Decided> {
    const { bindings, refusing, first } = asked
    let { reservation } = asked
    const { requestId } = reservation
    let attempts = 0
    const { shaper, store, clock, metrics } = this.options
    const nothing = reservation.charges.map(() => 0)
    const left = new AbortController()
    const end = (reason: HelixError) => left.abort(reason)
    const unwatch = client.whenGone(() => end(new HelixError('client_closed_request', 'The client left.')))
    this.waiting.add(end)
    const startMs = clock.monotonic()
    try {
      const verdict = await shaper.wait(
        {
          key: lineOf(reservation, refusing.key),
          project: identity.projectId,
          maxWaitMs: refusing.rule.shapeMaxWaitMs,
          // Each under a name of its own: a store that was told of a refusal charges that name nothing any more.
          attempt: () => {
            reservation = { ...reservation, requestId: `${requestId}.${++attempts}` }
            return this.reserve(reservation)
          },
          concerns: ({ refused }) => refused !== undefined && bindings[refused] === refusing,
          undo: () => void store.settle(reservation, nothing),
          signal: left.signal,
        },
        first,
      )
      const outcome = verdict.refused === undefined ? 'granted' : 'refused'
      const waitedSeconds = (clock.monotonic() - startMs) / 1_000
      metrics.observe('helixflow_ratelimit_shaped_seconds', { outcome }, waitedSeconds)
      return { ...verdict, reservation, waited: true }
    } finally {
      this.waiting.delete(end)
      unwatch()
    }
  }

  /** Not asked yet: it would overtake those who wait. What is left of its rules nobody has said. */
  private behindOthers(reservation: Reservation, bindings: readonly Binding[], inLine: Binding): Verdict {
    const waitMs = this.options.shaper.waitOf(lineOf(reservation, inLine.key)) ?? 0
    return { refused: bindings.indexOf(inLine), waitMs, standings: [], unseeded: [], gathered: false }
  }

  /** @throws HelixError `storage_unavailable` when a budget stays unknown, however often it is told */
  private async reserve(reservation: Reservation): Promise<Verdict> {
    const { store } = this.options
    for (let asked = 0; asked <= SEEDS_MAX; asked++) {
      const verdict = await store.reserve(reservation)
      if (verdict.unseeded.length === 0) return verdict
      await this.seed(reservation, verdict.unseeded)
    }
    const text = 'What is left of a budget is not known. Try again shortly.'
    throw new HelixError('storage_unavailable', text, { internal: 'the store does not keep what it is told' })
  }

  /** A budget begins with what was spent before this store knew of it. @throws HelixError `storage_unavailable` */
  private async seed({ tenant, charges }: Reservation, places: readonly number[]): Promise<void> {
    const budgets = places.flatMap((place) => charges[place] ?? [])
    const queries = budgets.flatMap(({ spend }) => spend ?? [])
    const spent = await this.options.spend.spent(tenant, queries)
    for (const [at, charge] of budgets.entries())
      await this.options.store.seed(tenant, charge, spent[at] ?? 0)
  }

  /**
   * What was done for a caller beside its own requests, such as the embedding of a question: it is small, and counted
   * afterwards. It is no request of theirs.
   */
  charge(identity: Identity, model: string, { requestId, usage }: DoneBeside): void {
    const { store, clock, price } = this.options
    const bindings = bindingsOf(identity, model, clock.now()).filter(
      ({ rule }) => rule.measure !== 'requests' && rule.measure !== 'concurrency',
    )
    if (bindings.length === 0) return
    const charges = bindings.map((one) => chargeOf(one, actualCost(one, usage, price(model))))
    void store.renew([{ tenant: identity.organisationId, requestId, charges, held: false }])
  }

  private settle(
    reservation: Reservation,
    bindings: readonly Binding[],
    settlement: Settlement | undefined,
    price: Price | undefined,
  ): void {
    if (!this.running.delete(reservation.requestId)) return
    const usage = settlement?.usage ?? { promptTokens: 0, completionTokens: 0, cachedTokens: 0 }
    const costs = bindings.map((one) => actualCost(one, usage, price))
    void this.options.store.settle(reservation, costs)
    for (const charge of budgetsOf(reservation)) this.drift.ended(reservation.tenant, charge)
  }

  private count(bindings: readonly Binding[], { refused, gathered }: Verdict): void {
    const { metrics, storeName } = this.options
    const store = storeName()
    if (gathered) metrics.add('helixflow_ratelimit_gathered_total', {})
    if (refused === undefined) {
      const algorithm = bindings.length === 1 && bindings[0] ? bindings[0].terms.kind : 'several'
      metrics.add('helixflow_ratelimit_decisions_total', { algorithm, store, outcome: 'granted' })
      return
    }
    const algorithm = bindings[refused]?.terms.kind ?? 'several'
    metrics.add('helixflow_ratelimit_decisions_total', { algorithm, store, outcome: 'refused' })
  }

  private renewLater(): void {
    this.cancel = this.options.clock.schedule(RENEW_EVERY_MS, () => {
      if (this.running.size > 0) void this.options.store.renew(this.open())
      this.options.metrics.set('helixflow_ratelimit_reservations', {}, this.running.size)
      this.renewLater()
    })
  }
}

/** Once is enough, unless the store loses it at once: a Redis that has no room left. */
const SEEDS_MAX = 3
const NOTHING: WorstCase = { promptTokens: 0, outputTokens: 0, outputTokensPerChoice: undefined }

function unlimited(exchange: Exchange): Admission {
  return { exchange, headers: {}, settle: () => {} }
}

/** The same request, with the length that was reserved for its answer. */
function bounded(exchange: Exchange, outputTokensMax: number): Exchange {
  return {
    ...exchange,
    body: (replica, asked) => exchange.body(replica, { ...asked, outputTokensMax }),
    // Whoever may have a longer answer is not given one that was cut short here.
    cacheable: exchange.cacheable && {
      ...exchange.cacheable,
      request: { ...exchange.cacheable.request, outputTokensMax },
    },
  }
}

function budgetsOf({ charges }: Reservation): readonly Charge[] {
  return charges.filter(({ kind }) => kind === 'budget')
}

function chargeOf({ key, terms, rule, period }: Binding, cost: number): Charge {
  const spend = period && { subject: rule.subject, model: rule.model, sinceMs: period.startMs }
  return { key, ...terms, cost, spend }
}

function lineOf({ tenant }: Reservation, key: string): string {
  return `${tenant}/${key}`
}
