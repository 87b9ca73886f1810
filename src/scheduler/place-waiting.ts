import { worthNow } from './apply.ts'
import { chooseVictims, type EvictionPlan } from './eviction.ts'
import { startMoves } from './moves.ts'
import type { Placement } from './placement/placement.ts'
import type { Purpose, Share, WaitingModel } from './state.ts'
import type { Turn } from './turn.ts'
import { allowedDevices, type ClusterView, withTaken } from './view.ts'

/** Waiting this long is worth one step of priority, so that nobody waits for ever behind the important. */
const AGEING_MS = 10_000

/** The search for moves may take milliseconds, and what changes between two events seldom changes what it finds. */
const SEEK_MOVES_EVERY_MS = 1_000

/** Somebody waits for a demand; the least number is owed; the rest is a wish. */
const URGENCY: Readonly<Record<Purpose, number>> = { demand: 2, move: 2, minimum: 1, replica: 0, prefetch: 0 }

/**
 * Places waiting models, the most urgent first, and makes room for those that do not fit. What one waits for is kept
 * for it: whoever comes behind is placed elsewhere or not at all, since a stream of small models would starve a large one.
 */
export function placeWaiting(turn: Turn): void {
  const due = turn.state.waiting.filter(({ notBeforeMs }) => notBeforeMs <= turn.nowMs)
  if (due.length === 0) return
  const kept: Share[] = []
  let isWeighed = false
  for (const waiting of due.sort((a, b) => urgency(b, turn.nowMs) - urgency(a, turn.nowMs))) {
    const view = kept.length > 0 ? withTaken(turn.view, kept) : turn.view
    const placement = turn.policy.place(view, waiting.spec)
    if (placement.kind === 'placed') {
      turn.dropWaiting(waiting.spec.name)
      turn.load(waiting, placement)
    } else if (placement.reason !== 'memory-exhausted') {
      refuse(turn, waiting, placement)
    } else {
      if (!isWeighed) weighAnew(turn)
      isWeighed = true
      const weighed = kept.length > 0 ? withTaken(turn.view, kept) : turn.view
      if (URGENCY[waiting.purpose] > 0) kept.push(...makeRoom(turn, waiting, weighed))
      else makeRoomAhead(turn, waiting, weighed)
    }
  }
}

/** What idle instances were worth when they were used is not what they are worth now: the forecast has gone on. */
function weighAnew(turn: Turn): void {
  if (turn.policy.evict.by !== 'gdsf') return
  const worths = new Map<string, number>()
  const instances = turn.state.instances.map((instance) => {
    const { spec, state, inFlight } = instance
    if (state !== 'ready' || inFlight > 0) return instance
    const worth = worths.get(spec.name) ?? worthNow(turn, spec)
    worths.set(spec.name, worth)
    return worth === instance.worth ? instance : { ...instance, worth }
  })
  turn.change({ instances })
}

function urgency({ purpose, spec, sinceMs }: WaitingModel, nowMs: number): number {
  const aged = spec.priority + (nowMs - sinceMs) / AGEING_MS
  // Priorities end at 100; the classes stay apart, and age counts within them.
  return URGENCY[purpose] * 1_000_000 + aged
}

function refuse(
  turn: Turn,
  { spec, purpose }: WaitingModel,
  { reason, neededBytes, largestBytes }: Extract<Placement, { kind: 'unplaceable' }>,
): void {
  const never = reason === 'larger-than-any-device'
  const refusal = never
    ? { kind: 'larger-than-any-device' as const, neededBytes, largestBytes }
    : { kind: 'no-device' as const }
  turn.refuse(spec.name, refusal)
  // What is owed and cannot be had is not tried again at every moment.
  if (purpose !== 'demand') turn.updateHistory(spec.name, { failedMs: turn.nowMs })
  const because = never
    ? `needs ${neededBytes} bytes where ${largestBytes} could be had at most`
    : 'no device that it may be on is there'
  turn.records.push({ kind: 'refused', model: spec.name, because })
}

/** Begins to make room. Returns what must be kept free for it meanwhile. */
function makeRoom(turn: Turn, waiting: WaitingModel, view: ClusterView): readonly Share[] {
  const { spec, sinceMs } = waiting
  if (turn.state.plan?.model === spec.name) return everywhere(view, waiting)
  if (seekMoves(turn, waiting, view)) return everywhere(view, waiting)
  const plan = chooseVictims(view, spec, turn.policy.evict, turn.nowMs - sinceMs)
  if (!plan) {
    if (sinceMs === turn.nowMs) {
      turn.records.push({ kind: 'waits', model: spec.name, because: 'nothing may be unloaded for it yet' })
    }
    return everywhere(view, waiting)
  }
  evict(turn, plan, `room for ${spec.name}: ${plan.because}`)
  return plan.shares
}

function seekMoves(turn: Turn, { spec, movesSoughtMs }: WaitingModel, view: ClusterView): boolean {
  if (movesSoughtMs !== undefined && turn.nowMs - movesSoughtMs < SEEK_MOVES_EVERY_MS) return false
  const begun = startMoves(turn, spec, view)
  turn.updateWaiting(spec.name, { movesSoughtMs: turn.nowMs })
  return begun
}

/** For what nobody waits for: idle instances go for it, and if that does not do it, it is not wanted any more. */
function makeRoomAhead(turn: Turn, { spec, purpose }: WaitingModel, view: ClusterView): void {
  const plan = chooseVictims(view, spec, turn.policy.evict, 0)
  if (plan?.victims.every(({ inFlight }) => inFlight === 0)) {
    evict(turn, plan, `room for another ${spec.name}: ${plan.because}`)
  } else {
    turn.dropWaiting(spec.name, purpose)
  }
}

function evict(turn: Turn, { victims }: EvictionPlan, because: string): void {
  for (const victim of victims) turn.drain(victim, 'room', because)
}

/** All that is free where it may go: which of it will be its place is not known yet. */
function everywhere(view: ClusterView, { spec }: WaitingModel): readonly Share[] {
  return allowedDevices(view.state.devices, spec).map(({ id }) => ({
    deviceId: id,
    bytes: Math.max(0, view.freeBytes.get(id) ?? 0),
  }))
}
