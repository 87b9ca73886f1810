import type { Hole } from './holes.ts'
import { type LeastMoves, leastMoves, MoveBoard, MoveGround, type PossibleMove } from './move-board.ts'
import type { Move } from './state.ts'
import type { ClusterView } from './view.ts'

/** A list of moves that opens a hole. */
export interface FoundMoves {
  readonly moves: readonly Move[]
  readonly costSeconds: number
}

/** Holes that are looked at, those that lack least first, and moves that are tried for all of them. */
const HOLES_MAX = 24
const TRIES_MAX = 4_500

/**
 * The cheapest list of moves that opens one of the holes. A depth-first search that deepens move by move and is bounded
 * by the best list so far (branch and bound over iterative deepening, Korf 1985), with what a hole will cost at least
 * from the sizes and loads of what lies in it: complete on small clusters, and on large ones what is found within a
 * number of tries, for a decision must not take long.
 */
export function cheapestMoves(
  view: ClusterView,
  holes: readonly Hole[],
  movesMax: number,
): FoundMoves | undefined {
  const ground = new MoveGround(view)
  const searches: HoleSearch[] = []
  for (const hole of holes) {
    if (searches.length === HOLES_MAX) break
    const least = leastMoves(ground, hole)
    if (least.moves <= movesMax) searches.push(new HoleSearch(ground, hole, least))
  }
  let best: FoundMoves | undefined
  let tries = TRIES_MAX
  for (let depth = 1; depth <= movesMax; depth++) {
    for (const search of searches) {
      if (search.least.moves > depth || (best && search.least.seconds >= best.costSeconds)) continue
      // No hole takes all that is left: an easier one may come after it.
      const allotted = Math.ceil(tries / 3)
      const { found, tried } = search.run(depth, best?.costSeconds ?? Number.POSITIVE_INFINITY, allotted)
      tries -= tried
      best = found ?? best
    }
  }
  return best
}

/** The search for one hole. */
class HoleSearch {
  readonly least: LeastMoves
  private readonly ground: MoveGround
  private readonly hole: Hole
  private readonly made: PossibleMove[] = []
  /** By arrangement, the least cost that it was reached with and how many moves were left. */
  private readonly seen = new Map<string, { readonly cost: number; readonly left: number }>()
  /** Set up once its turn comes: on a large cluster most holes never get it. */
  private board: MoveBoard | undefined
  private bound = Number.POSITIVE_INFINITY
  private triesLeft = 0
  private found: FoundMoves | undefined

  constructor(ground: MoveGround, hole: Hole, least: LeastMoves) {
    this.ground = ground
    this.hole = hole
    this.least = least
  }

  run(depth: number, bound: number, tries: number): { found: FoundMoves | undefined; tried: number } {
    this.bound = bound
    this.triesLeft = tries
    this.found = undefined
    this.seen.clear()
    this.board ??= new MoveBoard(this.ground, this.hole)
    this.search(this.board, depth, 0)
    return { found: this.found, tried: tries - this.triesLeft }
  }

  private search(board: MoveBoard, left: number, cost: number): void {
    const needed = board.leastMoves()
    if (needed.moves === 0) {
      this.bound = cost
      this.found = { moves: this.made.map(({ move }) => move), costSeconds: cost }
      return
    }
    if (needed.moves > left || cost + needed.seconds >= this.bound) return
    if (this.wasSeen(board, left, cost)) return
    for (const possible of board.possibleMoves(left > needed.moves)) {
      // The others cost no less.
      if (this.triesLeft <= 0 || cost + possible.seconds >= this.bound) return
      this.triesLeft--
      board.make(possible)
      this.made.push(possible)
      this.search(board, left - 1, cost + possible.seconds)
      this.made.pop()
      board.undo(possible)
    }
  }

  private wasSeen(board: MoveBoard, left: number, cost: number): boolean {
    const key = board.arrangement()
    const before = this.seen.get(key)
    if (before && before.cost <= cost && before.left >= left) return true
    this.seen.set(key, { cost, left })
    return false
  }
}
