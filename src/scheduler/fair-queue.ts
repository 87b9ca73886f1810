import { TIER_NUMBERS, type Tier } from './tier.ts'
import { WaitingLine } from './waiting-line.ts'

/** One request that wants its turn; times in milliseconds on one clock. */
export interface Turn {
  /** Who is to get no more than the others. */
  readonly tenant: string
  readonly tier: Tier
  /** When it must have been answered. */
  readonly deadlineMs: number
  /** How long answering it will probably take. */
  readonly predictedMs: number
  /** What answering it will probably take, as `tokenCost` counts. */
  readonly cost: number
}

/** By what rule a queue says who is next. */
export interface FairQueueOptions {
  /** `tokens`: tenants by what they had; `arrival`: whoever came first, whatever its tenant and tier. */
  readonly by: 'tokens' | 'arrival'
  /** A request that has waited this long counts as of the next higher tier, so that every wait ends. */
  readonly ageMs: number
}

/** Tokens as a request takes them. */
export interface TokenCounts {
  readonly promptTokens: number
  readonly completionTokens: number
  /** Of the prompt, those that the engine had already read. */
  readonly cachedTokens: number
}

/**
 * What tokens weigh: one that is written takes an engine longer than one that is read with others, and one that was read
 * before costs little more than its place in memory.
 */
export const TOKEN_WEIGHTS = { prompt: 1, cached: 0.1, completion: 2 } as const

/** What a request takes of an engine, in tokens of a prompt. */
export function tokenCost({ promptTokens, completionTokens, cachedTokens }: TokenCounts): number {
  const cached = Math.min(cachedTokens, promptTokens)
  return (
    TOKEN_WEIGHTS.prompt * (promptTokens - cached) +
    TOKEN_WEIGHTS.cached * cached +
    TOKEN_WEIGHTS.completion * completionTokens
  )
}

interface Tenant<One extends Turn> {
  readonly name: string
  /** What it had by requests that have ended; raised to the others' when it comes back. */
  counter: number
  /** What those that are at work will probably cost, and how many they are. */
  atWork: number
  running: number
  readonly line: WaitingLine<One>
}

/** Beyond so many tenants those that have nothing here are forgotten, as soon as that changes nothing. */
const TENANTS_KEPT = 1_024

/**
 * Who of those that wait for one model is next. Between tenants it is the Virtual Token Counter of Sheng et al., "Fairness
 * in Serving Large Language Models" (OSDI 2024): the one that had the least, where who comes back from idling starts
 * level with the others. What is at work counts by an estimate, until the truth is known; level is only what has ended, for
 * an estimate that was too high would hold back for long whoever was raised to it. Two tenants that both wait all the time
 * never differ by more than twice the most that one has at work. Inside a tenant: the higher tier, then the least slack,
 * then the order of arrival.
 */
export class FairQueue<One extends Turn> {
  private readonly tenants = new Map<string, Tenant<One>>()
  /** Tenants somebody of whom waits. */
  private readonly waiting = new Set<Tenant<One>>()
  /** The last whose request started: with it those are level who come when nobody waits. */
  private last: Tenant<One> | undefined
  /** Before this time nobody has waited long enough to rise. */
  private nobodyRisesMs = Number.POSITIVE_INFINITY
  private arrivals = 0
  private count = 0

  constructor(private readonly options: FairQueueOptions) {}

  get size(): number {
    return this.count
  }

  add(one: One, nowMs: number): void {
    const tenant = this.enter(one)
    const arrival = this.arrivals++
    const place =
      this.options.by === 'arrival'
        ? { tier: 'default' as const, urgency: arrival }
        : { tier: one.tier, urgency: one.deadlineMs - one.predictedMs }
    tenant.line.add({ one, arrival, urgency: place.urgency, enteredMs: nowMs }, place.tier)
    this.nobodyRisesMs = Math.min(this.nobodyRisesMs, nowMs + this.options.ageMs)
    this.waiting.add(tenant)
    this.count++
  }

  /** It waits no longer. @returns whether it did */
  remove(one: One): boolean {
    const tenant = this.tenants.get(this.tenantOf(one))
    if (!tenant?.line.remove(one)) return false
    if (tenant.line.size === 0) this.waiting.delete(tenant)
    this.count--
    return true
  }

  /** Whose turn it is; it stays until `start` or `remove`. */
  next(nowMs: number): One | undefined {
    if (nowMs >= this.nobodyRisesMs) this.age(nowMs)
    const tenant = leastServed(this.waiting, (one) => ({ tier: one.line.bestTier, counter: chargeOf(one) }))
    return tenant?.line.first
  }

  /** It is answered from now on, whether it has waited here or not, and is charged for what that will probably take. */
  start(one: One): void {
    const tenant = this.enter(one)
    this.remove(one)
    tenant.atWork += priceOf(one.cost)
    tenant.running++
    this.last = tenant
    if (this.tenants.size > TENANTS_KEPT) this.forget()
  }

  /** It has ended, and has cost this. To be called once for each that was started. */
  settle(one: One, cost: number): void {
    const tenant = this.tenants.get(this.tenantOf(one))
    if (!tenant) return
    tenant.counter += priceOf(cost)
    tenant.running--
    // Sums of fractions do not end at zero by themselves.
    tenant.atWork = tenant.running === 0 ? 0 : tenant.atWork - priceOf(one.cost)
  }

  /**
   * Who has to give up its place where there is none for one more: the last of the tenant that has the most, unless that is
   * its own. So nobody fills the queue for all, as with McKenney's "drop from the longest queue" (1990).
   */
  displacedBy(one: One): One | undefined {
    let longest: Tenant<One> | undefined
    for (const tenant of this.waiting) if (!longest || tenant.line.size > longest.line.size) longest = tenant
    const own = this.tenants.get(this.tenantOf(one))?.line.size ?? 0
    return longest && longest.line.size > own + 1 ? longest.line.last : undefined
  }

  /** What the tenant has had, on the scale of the others here. */
  counterOf(tenant: string): number | undefined {
    const found = this.tenants.get(tenant)
    return found && chargeOf(found)
  }

  /** All that wait, in the order in which they would start if nobody else came and all cost what they say. */
  line(): readonly One[] {
    const rest = [...this.waiting].map((tenant) => ({
      counter: chargeOf(tenant),
      waiting: tenant.line.inOrder(),
      at: 0,
    }))
    const found: One[] = []
    while (found.length < this.count) {
      const next = leastServed(rest, ({ waiting, at, counter }) => {
        const entry = waiting[at]
        return entry && { tier: entry.tier, counter }
      })
      const entry = next?.waiting[next.at++]
      if (!next || !entry) break
      next.counter += priceOf(entry.one.cost)
      found.push(entry.one)
    }
    return found
  }

  private age(nowMs: number): void {
    const { ageMs } = this.options
    this.nobodyRisesMs = Number.POSITIVE_INFINITY
    for (const { line } of this.waiting)
      this.nobodyRisesMs = Math.min(this.nobodyRisesMs, ageMs + line.age(nowMs - ageMs, nowMs))
  }

  private tenantOf({ tenant }: One): string {
    return this.options.by === 'arrival' ? '' : tenant
  }

  /** Its tenant, level with those that wait where it had nothing here. */
  private enter(one: One): Tenant<One> {
    const name = this.tenantOf(one)
    let tenant = this.tenants.get(name)
    if (!tenant) {
      tenant = { name, counter: 0, atWork: 0, running: 0, line: new WaitingLine() }
      this.tenants.set(name, tenant)
    }
    if (tenant.line.size === 0) tenant.counter = Math.max(tenant.counter, this.level())
    return tenant
  }

  private level(): number {
    let least = Number.POSITIVE_INFINITY
    for (const { counter } of this.waiting) least = Math.min(least, counter)
    return least < Number.POSITIVE_INFINITY ? least : (this.last?.counter ?? 0)
  }

  /** Who would be raised to the level on coming back may as well be new then. */
  private forget(): void {
    const level = this.level()
    for (const tenant of this.tenants.values()) {
      if (tenant.line.size + tenant.running > 0 || tenant === this.last || tenant.counter > level) continue
      this.tenants.delete(tenant.name)
    }
  }
}

function chargeOf({ counter, atWork }: { readonly counter: number; readonly atWork: number }): number {
  return counter + atWork
}

/** A turn is never free: who fails again and again would be first for ever. */
function priceOf(cost: number): number {
  return Math.max(1, cost)
}

/** The one of the best tier, among those the one with the smallest counter, among those the first. */
function leastServed<One>(
  all: Iterable<One>,
  standing: (one: One) => { readonly tier: number; readonly counter: number } | undefined,
): One | undefined {
  let best: One | undefined
  let least = { flex: true, counter: Number.POSITIVE_INFINITY }
  for (const one of all) {
    const found = standing(one)
    if (!found) continue
    // A tenant's priorities are its own affair: between tenants only what all of them rank last does.
    const flex = found.tier === TIER_NUMBERS.flex
    if (best !== undefined && (flex !== least.flex ? flex : found.counter >= least.counter)) continue
    best = one
    least = { flex, counter: found.counter }
  }
  return best
}
