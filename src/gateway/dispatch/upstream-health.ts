import type { Replica } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Metrics } from '../../core/metrics.ts'
import { CircuitBreaker } from '../../scheduler/circuit-breaker.ts'
import { RetryBudget } from '../../scheduler/retry-budget.ts'
import type { RelayResult } from './relay.ts'

/** Statuses by which a server says that it cannot do what another one could: our credential, our rate, itself. */
const FAILING_STATUSES: readonly number[] = [401, 403, 408, 429]
const PAUSE_MAX_MS = 30_000
/** One that is only slow now and then is not silent. */
const SILENCES_MAX = 3

/**
 * What is known of other people's servers: each has a circuit breaker, and all share a budget of retries. Engines of our
 * own are the pool's to judge.
 */
export class UpstreamHealth {
  private readonly breakers = new Map<string, CircuitBreaker>()
  private readonly budget = new RetryBudget()
  /** How often in a row each has let a request wait in vain. */
  private readonly silences = new Map<string, number>()
  private byModel: ReadonlyMap<string, readonly Replica[]> = new Map()

  constructor(
    private readonly clock: Clock,
    private readonly metrics: Metrics,
  ) {}

  /** The pool's table, as it is now. */
  replace(replicas: readonly Replica[]): void {
    const byModel = new Map<string, Replica[]>()
    for (const replica of replicas) {
      byModel.set(replica.model, [...(byModel.get(replica.model) ?? []), replica])
    }
    this.byModel = byModel
    const present = new Set(replicas.map(({ id }) => id))
    for (const id of this.breakers.keys()) {
      if (present.has(id)) continue
      this.breakers.delete(id)
      this.silences.delete(id)
    }
  }

  /**
   * Whether a request may go there now. Where all servers that have the model are failing, those that fail at once are
   * asked all the same: that is the caller's to see, and costs nobody anything. Those that let callers wait are not.
   */
  usable(replica: Replica): boolean {
    if (this.admits(replica)) return true
    const isLast = !this.byModel.get(replica.model)?.some((other) => this.admits(other))
    return isLast && (this.silences.get(replica.id) ?? 0) < SILENCES_MAX
  }

  /** Why a request for the model need not even wait: every server that has it lets requests wait in vain. */
  shut(model: string): HelixError | undefined {
    const replicas = this.byModel.get(model) ?? []
    if (replicas.length === 0 || replicas.some((replica) => this.usable(replica))) return undefined
    const text = `No upstream server that has '${model}' answers in time; they are tried again in a moment.`
    return new HelixError('upstream_unavailable', text, { retryAfterMs: 1_000 })
  }

  /** A request comes in: it earns a part of a retry for all. */
  requested(): void {
    this.budget.requested()
  }

  began({ id, engine }: Replica): void {
    if (engine === 'upstream') this.breakers.get(id)?.began(this.clock.monotonic())
  }

  ended({ id, engine }: Replica, result: RelayResult): void {
    if (engine !== 'upstream') return
    const breaker = this.breakers.get(id) ?? new CircuitBreaker()
    this.breakers.set(id, breaker)
    const nowMs = this.clock.monotonic()
    const outcome = outcomeOf(result)
    if (outcome === 'failed') breaker.failed(nowMs, pauseOf(result))
    else if (outcome === 'succeeded') breaker.succeeded(nowMs)
    else breaker.abandoned()
    if (isSilence(result)) this.silences.set(id, (this.silences.get(id) ?? 0) + 1)
    else if (outcome !== 'abandoned') this.silences.delete(id)
    this.metrics.add('helixflow_upstream_requests_total', { replica: id, outcome })
    const open = breaker.state(nowMs) === 'closed' ? 0 : 1
    this.metrics.set('helixflow_upstream_circuit_open', { replica: id }, open)
  }

  /**
   * Whether the request should be tried once more, at another server; takes the retry from the budget.
   * @param tried where it was already
   */
  mayTryAnother(model: string, tried: ReadonlySet<string>, result: RelayResult): boolean {
    if (outcomeOf(result) !== 'failed' || result.kind === 'broken') return false
    const others = (this.byModel.get(model) ?? []).filter(({ id }) => !tried.has(id))
    return others.some((replica) => this.admits(replica)) && this.budget.take(this.clock.monotonic())
  }

  private admits({ id, engine }: Replica): boolean {
    if (engine !== 'upstream') return true
    return this.breakers.get(id)?.admits(this.clock.monotonic()) ?? true
  }
}

type Outcome = 'succeeded' | 'failed' | 'abandoned'

function outcomeOf(result: RelayResult): Outcome {
  switch (result.kind) {
    case 'complete':
      return 'succeeded'
    case 'aborted':
      return 'abandoned'
    case 'denied':
      return FAILING_STATUSES.includes(result.status) || result.status >= 500 ? 'failed' : 'succeeded'
    case 'unanswered':
    case 'broken':
      return 'failed'
  }
}

function isSilence(result: RelayResult): boolean {
  return result.kind === 'broken' && result.error.code === 'upstream_timeout'
}

/** How long the server asked to be left alone; undefined where it did not. */
function pauseOf(result: RelayResult): number | undefined {
  if (result.kind !== 'denied' || result.status !== 429) return undefined
  const seconds = Number(result.retryAfter)
  return seconds > 0 ? Math.min(PAUSE_MAX_MS, seconds * 1_000) : undefined
}
