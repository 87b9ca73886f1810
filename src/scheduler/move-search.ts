import type { Hole } from './holes.ts'
import { MoveBoard, type PossibleMove } from './move-board.ts'
import type { Move } from './state.ts'
import type { ClusterView } from './view.ts'

export interface FoundMoves {
  readonly moves: readonly Move[]
  readonly costSeconds: number
}

/** Holes that are looked at, those that lack least first, and moves that are tried for all of them. */
const HOLES_MAX = 24
const TRIES_MAX = 40_000

/**
 * The cheapest list of moves that opens one of the holes. A depth-first search that deepens move by move and is bounded
 * by the best list so far (branch and bound over iterative deepening, Korf 1985): complete on small clusters, and on
 * large ones what is found within a number of tries, for a decision must not take long.
 */
export function cheapestMoves(
  view: ClusterView,
  holes: readonly Hole[],
  movesMax: number,
): FoundMoves | undefined {
  const searches: HoleSearch[] = []
  for (const hole of holes) {
    if (searches.length === HOLES_MAX) break
    const search = new HoleSearch(view, hole)
    if (search.movesNeeded <= movesMax) searches.push(search)
  }
  let best: FoundMoves | undefined
  let tries = TRIES_MAX
  for (let depth = 1; depth <= movesMax; depth++) {
    for (const [index, search] of searches.entries()) {
      // What the shallow and the easy ones leave, the others share.
      const allotted = Math.ceil(tries / ((movesMax - depth + 1) * (searches.length - index)))
      const { found, tried } = search.run(depth, best?.costSeconds ?? Number.POSITIVE_INFINITY, allotted)
      tries -= tried
      best = found ?? best
    }
  }
  return best
}

/** The search for one hole. */
class HoleSearch {
  readonly movesNeeded: number
  private readonly board: MoveBoard
  private readonly made: PossibleMove[] = []
  /** By arrangement, the least cost that it was reached with and how many moves were left. */
  private readonly seen = new Map<string, { readonly cost: number; readonly left: number }>()
  private bound = Number.POSITIVE_INFINITY
  private triesLeft = 0
  private found: FoundMoves | undefined

  constructor(view: ClusterView, hole: Hole) {
    this.board = new MoveBoard(view, hole)
    this.movesNeeded = this.board.movesNeeded()
  }

  run(depth: number, bound: number, tries: number): { found: FoundMoves | undefined; tried: number } {
    this.bound = bound
    this.triesLeft = tries
    this.found = undefined
    this.seen.clear()
    this.search(depth, 0)
    return { found: this.found, tried: tries - this.triesLeft }
  }

  private search(left: number, cost: number): void {
    const needed = this.board.movesNeeded()
    if (needed === 0) {
      this.bound = cost
      this.found = { moves: this.made.map(({ move }) => move), costSeconds: cost }
      return
    }
    if (needed > left || this.wasSeen(left, cost)) return
    for (const possible of this.board.possibleMoves(left > needed)) {
      if (this.triesLeft <= 0) return
      if (cost + possible.seconds >= this.bound) continue
      this.triesLeft--
      this.board.make(possible)
      this.made.push(possible)
      this.search(left - 1, cost + possible.seconds)
      this.made.pop()
      this.board.undo(possible)
    }
  }

  private wasSeen(left: number, cost: number): boolean {
    const key = this.board.arrangement()
    const before = this.seen.get(key)
    if (before && before.cost <= cost && before.left >= left) return true
    this.seen.set(key, { cost, left })
    return false
  }
}
