import type { DefragmentPolicy } from './policy.ts'
import type { ModelSpec, Move } from './state.ts'
import type { ClusterView } from './view.ts'

export interface MoveProposal {
  readonly moves: readonly Move[]
  /** Seconds of loading that the moves take. */
  readonly costSeconds: number
  readonly because: string
}

/**
 * The cheapest list of moves, at most `movesMax`, after which the model fits somewhere although it does not now;
 * undefined when there is none. Nothing that is pinned or loading is moved.
 */
export function planMoves(
  _view: ClusterView,
  _spec: ModelSpec,
  _policy: DefragmentPolicy,
): MoveProposal | undefined {
  return undefined
}
