import type { Clock } from '../core/clock.ts'
import type { PrefixIndex } from '../scheduler/prefix-index.ts'
import { RecentWork } from '../scheduler/recent-work.ts'
import { type Candidate, chooseReplica, ROUTING, type RoutingPolicy } from '../scheduler/routing.ts'
import { BLOCK_TOKENS, type Job } from './job.ts'
import type { GatewayRules } from './scenario.ts'

/** Slots of one instance, with what the gateway has given it to do. */
export interface RoutingSeat {
  readonly id: string
  readonly slots: number
  inUse: number
  /** Cost of the requests that it has. */
  atWork: number
  readonly recent: RecentWork
}

/** As the live gateway has them (`gateway/dispatch/seats.ts`). */
const RECENT_HALF_LIFE_MS = 60_000
const SLACK_PER_SLOT = 8_192

const POLICIES: Readonly<Record<GatewayRules['routing'], RoutingPolicy>> = {
  prefix: { ...ROUTING, slack: SLACK_PER_SLOT },
  'least-loaded': { loadFactor: Number.POSITIVE_INFINITY, slack: 0, missWeight: 0 },
}

export interface RoutingParts {
  readonly routing: GatewayRules['routing']
  readonly clock: Clock
  /** What the gateway believes that each instance still has. */
  readonly prefixes: PrefixIndex<number>
}

export interface ExpectedWork {
  readonly cost: number
  readonly msPerCost: number
}

export function newSeat(id: string, slots: number): RoutingSeat {
  return { id, slots, inUse: 0, atWork: 0, recent: new RecentWork(RECENT_HALF_LIFE_MS) }
}

/** The one with a free slot that a request goes to, and what it costs there; undefined when none has one. */
export function chooseSeat<S extends RoutingSeat>(
  seats: readonly S[],
  { request }: Job,
  { cost, msPerCost }: ExpectedWork,
  { routing, clock, prefixes }: RoutingParts,
): { readonly seat: S; readonly cost: number } | undefined {
  const free = seats.filter(({ slots, inUse }) => inUse < slots)
  const candidates = free.map((seat): Candidate & { readonly seat: S } => ({
    ...{ id: seat.id, seat, prefillMs: msPerCost, capacity: seat.slots },
    waitMs: (seat.atWork / seat.slots) * msPerCost,
    hitTokens: BLOCK_TOKENS * prefixes.hits(seat.id, request.blocks),
    load: seat.recent.at(clock.monotonic()),
  }))
  const route = chooseReplica(
    candidates,
    { promptTokens: request.promptTokens, work: cost },
    POLICIES[routing],
  )
  if (!route) return undefined
  const { seat, hitTokens } = route.candidate
  return { seat, cost: Math.max(0, cost - Math.min(hitTokens, request.promptTokens)) }
}
