import { chooseVictims } from './eviction.ts'
import { type Hole, reachableHoles } from './holes.ts'
import { savedSeconds } from './loss.ts'
import { REQUEST_SECONDS } from './move-board.ts'
import { cheapestMoves } from './move-search.ts'
import type { DefragmentPolicy } from './policy.ts'
import { loadMsOn, type ModelSpec, type Move } from './state.ts'
import type { ClusterView } from './view.ts'

/** Moves that are worth what they cost. */
export interface MoveProposal {
  readonly moves: readonly Move[]
  /** Seconds of loading that the moves take, and that those who are moved must wait. */
  readonly costSeconds: number
  readonly because: string
}

/**
 * The cheapest list of moves, at most `movesMax`, after which the model fits somewhere although it does not now;
 * undefined when there is none that is worth it. Nothing that is pinned, loading or on its way out is moved.
 *
 * Worth it is a list whose gain is `gainMin` times its cost. The gain is what it spares: without it those go that
 * `chooseVictims` would choose, were all requests and waits no matter, and each of them costs its load again, as far as
 * it will be asked for, and the time of its requests. Where nobody could go the model would never come, so that
 * any list is worth it. What the waiting model itself waits is on both sides: in the cost as the loads of the moves.
 */
export function planMoves(
  view: ClusterView,
  spec: ModelSpec,
  policy: DefragmentPolicy,
): MoveProposal | undefined {
  const holes = reachableHoles(view, spec)
  if (holes.some(({ missingBytes }) => missingBytes === 0)) return undefined
  const [slow, fast] = [holes.filter(isOnCpu), holes.filter((hole) => !isOnCpu(hole))]
  const found = cheapestMoves(view, fast, policy.movesMax) ?? cheapestMoves(view, slow, policy.movesMax)
  if (!found) return undefined
  const spared = sparedSeconds(view, spec)
  if (spared !== undefined && spared < policy.gainMin * found.costSeconds) return undefined
  const cost = `${found.moves.length} moves that cost ${found.costSeconds.toFixed(1)} s`
  const because =
    spared === undefined
      ? `${cost}; nothing could be evicted for it`
      : `${cost} instead of evictions that cost ${spared.toFixed(1)} s`
  return { ...found, because }
}

function isOnCpu({ devices }: Hole): boolean {
  return devices.some(({ kind }) => kind === 'cpu')
}

/** What evictions would cost that make the same room; undefined where none could. */
function sparedSeconds(view: ClusterView, spec: ModelSpec): number | undefined {
  const plan = chooseVictims(view, spec, { by: 'gdsf', residencyMinMs: 0, swapWaitMs: 0 }, 0)
  return plan?.victims.reduce((sum, victim) => {
    const loadSeconds = loadMsOn(view.state, victim.spec, victim.nodeId) / 1_000
    const requestSeconds = victim.inFlight > 0 ? REQUEST_SECONDS : 0
    return sum + Math.min(loadSeconds, savedSeconds(view, victim)) + requestSeconds
  }, 0)
}
