/** A replica that could take the request now, as it is for this request. */
export interface Candidate {
  readonly id: string
  /** How long what it has at work will probably delay the request. */
  readonly waitMs: number
  /** To read one token of a prompt. */
  readonly prefillMs: number
  /** Tokens of this prompt that it probably still has. */
  readonly hitTokens: number
  /** Work that it was given lately, in any unit that is the same for all. */
  readonly load: number
  /** Its share of the work where shares are fair: its slots, times what it is worth beside the others. */
  readonly capacity: number
}

/** What a choice depends on that is the same for all candidates. */
export interface RoutedRequest {
  readonly promptTokens: number
  /** What it adds to the load of a replica that has nothing of its prompt, in the candidates' unit. */
  readonly work: number
}

/** What a beginning that is known is worth, and how uneven the load may become for it. */
export interface RoutingPolicy {
  /** A replica may have so many times its share of the work. */
  readonly loadFactor: number
  /** Work beyond that which nobody minds, in the unit of load per capacity. */
  readonly slack: number
  /** What a token that is read again counts, beside the delay of this request alone. */
  readonly missWeight: number
}

/** `only`: there was no choice. `prefix`: it has read the beginning before. `least-load`: it can begin soonest. */
export type RouteReason = 'only' | 'prefix' | 'least-load'

/** Where a request goes, and why. */
export interface Route<One extends Candidate> {
  readonly candidate: One
  readonly reason: RouteReason
}

/**
 * A replica has at most a quarter more than its share. A token that need not have been read delays not only this request
 * but all that come while the replica is busy, and pushes out what another one would have found: on the Mooncake traces
 * the time to the first token was best where it counted three to eight times (bench/routing.ts).
 */
export const ROUTING = { loadFactor: 1.25, missWeight: 4 } as const

/**
 * The replica that loses the least time: what it has at work, and the reading of what it does not have of the prompt. Of
 * those that do not exceed their share, after Mirrokni et al., "Consistent Hashing with Bounded Loads" (2016):
 * else all would follow a beginning that all prompts have. When all exceed it, the one with the least work.
 */
export function chooseReplica<One extends Candidate>(
  candidates: readonly One[],
  request: RoutedRequest,
  policy: RoutingPolicy,
): Route<One> | undefined {
  const [first] = candidates
  if (!first || candidates.length === 1) return first && { candidate: first, reason: 'only' }
  const fair = fairLoad(candidates, request, policy)
  let best: One | undefined
  for (const one of candidates) {
    if (loadOf(one) > fair) continue
    if (!best || isBetter(one, best, (each) => delayOf(each, request, policy))) best = one
  }
  const candidate = best ?? candidates.reduce((least, one) => (loadOf(one) < loadOf(least) ? one : least))
  return { candidate, reason: best && candidate.hitTokens > 0 ? 'prefix' : 'least-load' }
}

/** The most that a replica may have, per unit of its capacity, to get the request. */
function fairLoad(candidates: readonly Candidate[], { work }: RoutedRequest, policy: RoutingPolicy): number {
  let load = work
  let capacity = 0
  for (const one of candidates) {
    load += one.load
    capacity += one.capacity
  }
  return (policy.loadFactor * load) / capacity + policy.slack
}

function isBetter(one: Candidate, best: Candidate, delay: (one: Candidate) => number): boolean {
  const difference = delay(one) - delay(best)
  return difference !== 0 ? difference < 0 : loadOf(one) < loadOf(best)
}

function delayOf(
  { waitMs, prefillMs, hitTokens }: Candidate,
  { promptTokens }: RoutedRequest,
  { missWeight }: RoutingPolicy,
): number {
  return waitMs + missWeight * prefillMs * Math.max(0, promptTokens - hitTokens)
}

function loadOf({ load, capacity }: Candidate): number {
  return load / capacity
}
