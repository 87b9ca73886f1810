/** A gateway's part of the slots of one replica. */
export interface SlotShare {
  /** What it was told last that it may use. */
  readonly told: number
  /** What it may be using still: never less than `told`, and more until it has confirmed that it uses less. */
  readonly held: number
  /** Requests that it has there, and that wait at it. */
  readonly demand: number
}

/**
 * The slots of one replica divided anew among its gateways, in the order given. Never are more held in all than there
 * are: what is taken from one is given to another only once the first has confirmed that it uses no more. While nobody
 * lacks any, all stays as it is, so that requests that come and go move nothing.
 */
export function redivide(slots: number, shares: readonly SlotShare[]): readonly SlotShare[] {
  const isSettled = shares.every(
    ({ told, demand }) => told >= Math.min(demand, slots) && told >= leastOf(slots, shares),
  )
  const given = shares.reduce((sum, { told }) => sum + told, 0)
  if (isSettled && given === slots) return shares
  const targets = divideSlots(
    slots,
    shares.map(({ demand }) => demand),
  )
  let free = slots - shares.reduce((sum, { held }) => sum + held, 0)
  return shares.map((share, at) => {
    const target = targets[at] ?? 0
    const more = Math.max(0, Math.min(target - share.held, free))
    free -= more
    const told = Math.min(target, share.held + more)
    return { ...share, told, held: Math.max(share.held, told) }
  })
}

/** @param inUse by the gateway's own account, at a time when it had read what it was told last */
export function confirmed(share: SlotShare, inUse: number): SlotShare {
  return { ...share, held: Math.max(share.told, inUse) }
}

/**
 * One for each as long as there are enough, then by demand, and what nobody asks for evenly: whoever is asked next has
 * some at hand. Max-min fair: nobody gets another one while somebody who lacks one has fewer.
 */
export function divideSlots(slots: number, demands: readonly number[]): readonly number[] {
  const parts = demands.map(() => 0)
  for (let left = slots; left > 0; left--) {
    const next = neediest(parts, demands)
    if (next === undefined) break
    parts[next] = (parts[next] ?? 0) + 1
  }
  return parts
}

/** First who has none, then who lacks some, then anybody; of these who has the fewest, and of those who wants the most. */
function neediest(parts: readonly number[], demands: readonly number[]): number | undefined {
  let best: { readonly at: number; readonly rank: readonly number[] } | undefined
  for (const [at, part] of parts.entries()) {
    const demand = demands[at] ?? 0
    const rank = [part === 0 ? 0 : 1, part < demand ? 0 : 1, part, -demand]
    if (!best || isBefore(rank, best.rank)) best = { at, rank }
  }
  return best?.at
}

function isBefore(one: readonly number[], other: readonly number[]): boolean {
  for (const [at, value] of one.entries()) {
    const difference = value - (other[at] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

/** What each has at least. */
function leastOf(slots: number, shares: readonly SlotShare[]): number {
  return slots >= shares.length ? 1 : 0
}
