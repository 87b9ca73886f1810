import { balanceMove } from './balance.ts'
import { type MoveProposal, planMoves } from './defragment.ts'
import type { ModelSpec, Move, MovePlan } from './state.ts'
import type { Turn } from './turn.ts'
import type { ClusterView } from './view.ts'
import { bookWork } from './work.ts'

/** Demand changes slowly, and looking at every model takes a while where there are many. */
const BALANCE_EVERY_MS = 10_000

/** Begins a plan that opens a hole for the model, if one is worth it. Returns whether it did. */
export function startMoves(turn: Turn, spec: ModelSpec, view: ClusterView): boolean {
  if (!turn.policy.defragment.enabled || turn.state.plan) return false
  const proposal = planMoves(view, spec, turn.policy.defragment)
  if (!proposal) return false
  beginHole(turn, spec, proposal)
  progressMoves(turn)
  return turn.state.plan !== undefined
}

/** The operator asks: worth it or not. */
export function askForMoves(turn: Turn, spec: ModelSpec): void {
  if (turn.state.plan || turn.policy.place(turn.view, spec).kind === 'placed') return
  const proposal = planMoves(turn.view, spec, { ...turn.policy.defragment, gainMin: 0 })
  if (proposal) beginHole(turn, spec, proposal)
}

/** Begins a move that has devices compute more evenly, if one is worth it. */
export function balanceLoad(turn: Turn): void {
  const { nowMs, policy, state } = turn
  const { balanceSoughtMs } = state
  if (!policy.balance.enabled) return
  if (balanceSoughtMs !== undefined && nowMs - balanceSoughtMs < BALANCE_EVERY_MS) return
  turn.change({ balanceSoughtMs: nowMs })
  bookWork(turn)
  // Whoever waits comes first, and one that loads is about to change what there is.
  if (state.plan || state.waiting.length > 0 || state.instances.some((one) => one.state !== 'ready')) return
  const proposal = balanceMove(turn.view, policy.balance.gainMin)
  if (!proposal) return
  const { move, because } = proposal
  begin(turn, { model: undefined, because: 'moved, so that devices compute evenly', moves: [move] }, because)
  progressMoves(turn)
}

function beginHole(turn: Turn, { name }: ModelSpec, { moves, because }: MoveProposal): void {
  begin(
    turn,
    { model: name, because: `moved, so that ${name} fits`, moves },
    `${name} needs a hole: ${because}`,
  )
}

function begin(turn: Turn, plan: Pick<MovePlan, 'model' | 'because' | 'moves'>, because: string): void {
  const deadlineMs = turn.nowMs + turn.policy.defragment.planTimeoutMs
  turn.change({ plan: { ...plan, step: 0, deadlineMs, copyId: undefined } })
  for (const { instanceId } of plan.moves) {
    const model = turn.instance(instanceId)?.spec.name ?? ''
    turn.records.push({ kind: 'moved', model, instanceId, because })
  }
}

/** Takes the plan as far as it goes now. One move at a time, so that what a later one builds on is there. */
export function progressMoves(turn: Turn): void {
  for (let plan = turn.state.plan; plan; plan = turn.state.plan) {
    const outcome = turn.nowMs >= plan.deadlineMs ? 'given-up' : progress(turn, plan)
    if (outcome === 'waits') return
    if (outcome === 'given-up' || plan.step >= plan.moves.length) turn.change({ plan: undefined })
    else turn.change({ plan: { ...plan, step: plan.step + 1, copyId: undefined } })
  }
}

function progress(turn: Turn, plan: MovePlan): MoveOutcome {
  const move = plan.moves[plan.step]
  if (move) return move.kind === 'copy-first' ? copyFirst(turn, plan, move) : drainFirst(turn, plan, move)
  // A plan is over when what it drained is gone.
  return plan.moves.some(({ instanceId }) => turn.instance(instanceId)) ? 'waits' : 'done'
}

type MoveOutcome = 'done' | 'waits' | 'given-up'

function copyFirst(turn: Turn, plan: MovePlan, move: Move): MoveOutcome {
  const old = turn.instance(move.instanceId)
  if (plan.copyId === undefined) {
    // What went by itself leaves its room without us.
    if (old?.state !== 'ready') return 'done'
    return loadAtTarget(turn, plan, move, old.spec)
  }
  const copy = turn.instance(plan.copyId)
  if (!copy) return 'given-up'
  if (copy.state === 'loading') return 'waits'
  if (old?.state === 'ready') turn.drain(old, 'moved', `${copy.id} has taken its place`)
  return 'done'
}

function drainFirst(turn: Turn, plan: MovePlan, move: Move): MoveOutcome {
  const old = turn.instance(move.instanceId)
  if (plan.copyId === undefined) {
    if (old?.state !== 'ready') return 'done'
    turn.drain(old, 'moved', 'there is no room for it beside its copy')
    turn.change({ plan: { ...plan, copyId: old.id } })
    return 'waits'
  }
  if (old) return 'waits'
  const spec = turn.state.models[modelOf(move)]?.spec
  if (!spec) return 'done'
  // Its place is taken at once; nothing after it depends on its being ready.
  return loadAtTarget(turn, plan, move, spec) === 'given-up' ? 'given-up' : 'done'
}

function loadAtTarget(turn: Turn, plan: MovePlan, { to, nodeId }: Move, spec: ModelSpec): MoveOutcome {
  const fits = to.every(({ deviceId, bytes }) => (turn.view.freeBytes.get(deviceId) ?? 0) >= bytes)
  if (!fits) return 'given-up'
  const { because } = plan
  const copyId = turn.load({ spec, purpose: 'move' }, { nodeId, shares: to, because, candidates: [] })
  turn.change({ plan: { ...plan, copyId } })
  return 'waits'
}

/** Ids of instances are the model's name and a number. */
function modelOf({ instanceId }: Move): string {
  return instanceId.replace(/-\d+$/, '')
}
