import { TIER_NUMBERS, type Tier } from './tier.ts'

/** A tenant's request in its line. */
export interface Waiting<One> {
  readonly one: One
  readonly arrival: number
  /** The smaller the sooner, among those of one tier. */
  readonly urgency: number
  /** When it came, or rose to the tier that it is in. */
  enteredMs: number
}

interface Level<One> {
  readonly inOrder: Waiting<One>[]
  /** In the order of `enteredMs`. */
  readonly entered: Set<Waiting<One>>
}

/**
 * The requests of one tenant: by tier, then by urgency, then as they came. Urgency is slack without the present time, which
 * is the same for all: the order changes only when somebody comes, goes or rises.
 */
export class WaitingLine<One> {
  private readonly levels: readonly Level<One>[] = [emptyLevel(), emptyLevel(), emptyLevel()]
  private readonly places = new Map<One, { entry: Waiting<One>; level: Level<One> }>()

  get size(): number {
    return this.places.size
  }

  get first(): One | undefined {
    return this.levels[this.bestTier]?.inOrder[0]?.one
  }

  /** The one whose turn is the last. */
  get last(): One | undefined {
    return this.levels.findLast(({ inOrder }) => inOrder.length > 0)?.inOrder.at(-1)?.one
  }

  /** Number of the best tier in which somebody is; that of the last when nobody is. */
  get bestTier(): number {
    const tier = this.levels.findIndex(({ inOrder }) => inOrder.length > 0)
    return tier < 0 ? this.levels.length - 1 : tier
  }

  add(entry: Waiting<One>, tier: Tier): void {
    this.enter(entry, TIER_NUMBERS[tier])
  }

  /** @returns whether it was here */
  remove(one: One): boolean {
    const place = this.places.get(one)
    if (!place) return false
    const { entry, level } = place
    level.inOrder.splice(placeIn(level.inOrder, entry), 1)
    level.entered.delete(entry)
    this.places.delete(one)
    return true
  }

  /** Whoever is in its tier since then or longer rises to the next. @returns since when the next who may rise is in its own */
  age(sinceMs: number, nowMs: number): number {
    let oldestMs = Number.POSITIVE_INFINITY
    for (let tier = 1; tier < this.levels.length; tier++) {
      for (const entry of this.levels[tier]?.entered ?? []) {
        if (entry.enteredMs > sinceMs) {
          oldestMs = Math.min(oldestMs, entry.enteredMs)
          break
        }
        // The best tier has no next.
        if (tier > 1) oldestMs = Math.min(oldestMs, nowMs)
        this.remove(entry.one)
        entry.enteredMs = nowMs
        this.enter(entry, tier - 1)
      }
    }
    return oldestMs
  }

  inOrder(): readonly { readonly one: One; readonly tier: number }[] {
    return this.levels.flatMap(({ inOrder }, tier) => inOrder.map(({ one }) => ({ one, tier })))
  }

  private enter(entry: Waiting<One>, tier: number): void {
    const level = this.levels[tier]
    if (!level) return
    level.inOrder.splice(placeIn(level.inOrder, entry), 0, entry)
    level.entered.add(entry)
    this.places.set(entry.one, { entry, level })
  }
}

function emptyLevel<One>(): Level<One> {
  return { inOrder: [], entered: new Set() }
}

/** Where it is in the list, or belongs. */
function placeIn<One>(list: readonly Waiting<One>[], entry: Waiting<One>): number {
  let low = 0
  let high = list.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const other = list[middle]
    if (other && isBefore(other, entry)) low = middle + 1
    else high = middle
  }
  return low
}

function isBefore<One>(one: Waiting<One>, other: Waiting<One>): boolean {
  return one.urgency !== other.urgency ? one.urgency < other.urgency : one.arrival < other.arrival
}
