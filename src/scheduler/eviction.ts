import { compareLoss, savedSeconds } from './loss.ts'
import { type SpotTier, spotOn, spotTiers } from './placement/spots.ts'
import type { EvictionPolicy } from './policy.ts'
import { type Device, type Instance, loadMsOn, type ModelSpec, type Share, shareBytes } from './state.ts'
import { NO_VICTIMS, VictimChoice, type Victims } from './victims.ts'
import { allowedDevices, type ClusterView } from './view.ts'

/** What to unload so that a model fits, and where it will. */
export interface EvictionPlan {
  readonly nodeId: string
  readonly shares: readonly Share[]
  /** Those that are still to be told to go; empty when enough is on its way out. */
  readonly victims: readonly Instance[]
  readonly because: string
}

/**
 * The instances to unload so that the model fits somewhere: those worth the least for their bytes, and none that is not
 * needed. Idle before busy, lesser priority before greater, then by worth. Undefined when nothing that may go would do.
 * One with requests goes only for a model that waited `swapWaitMs`, one that became ready less than `residencyMinMs`
 * ago only likewise; a pinned one never, nor one of the least number that its model should have, nor one that has yet to
 * serve those for whom it was loaded: it would be wanted back at once. Where some must be busy or young, a split that
 * spares them is taken instead.
 * @param waitedMs how long the model has waited
 */
export function chooseVictims(
  view: ClusterView,
  spec: ModelSpec,
  policy: EvictionPolicy,
  waitedMs: number,
): EvictionPlan | undefined {
  const kept = leastNumbers(view)
  const choice = new VictimChoice(view, policy, (instance, { busy, young }) => {
    const disturbed = busy + young > 0
    const sibling = instance.spec.name === spec.name
    if (isAwaited(instance, policy, view.nowMs)) return false
    return !sibling && !kept.has(instance) && (!disturbed || waitedMs >= policy.swapWaitMs)
  })
  const allowed = allowedDevices(view.state.devices, spec).filter(({ health }) => health === 'ok')
  let best: Eviction | undefined
  for (const tier of spotTiers(allowed, spec.splitMax)) {
    const eviction = cheapestOf(view, spec, tier, choice)
    if (eviction && (!best || compareLoss(eviction.victims.loss, best.victims.loss) < 0)) best = eviction
    if (best && best.victims.loss.busy + best.victims.loss.young === 0) break
  }
  const spot = best && spotOn(best.devices, best.bytes)
  if (!best || !spot) return undefined
  const victims = best.victims.instances.map(({ instance }) => instance)
  return { ...spot, victims, because: reason(view, victims, policy) }
}

/**
 * What keeping a byte of the model is worth: GDSF's H. Its level L, by which what was not used for long loses against what
 * is new, is not needed where the frequency is a forecast: that ages by itself.
 */
export function worthOf(spec: ModelSpec, requestsPerHour: number): number {
  return (requestsPerHour * spec.loadMs) / Math.max(1, spec.memoryBytes)
}

/** Requests are on their way to what became ready; one that nobody used by then has lost its clients. */
const AWAITED_MIN_MS = 1_000

/** Else several that wait for memory which holds one of them would load in turns for ever, and none would serve. */
function isAwaited(
  { purpose, used, readySinceMs }: Instance,
  { residencyMinMs }: EvictionPolicy,
  nowMs: number,
): boolean {
  if (purpose !== 'demand' || used || readySinceMs === undefined) return false
  return nowMs - readySinceMs < Math.max(AWAITED_MIN_MS, residencyMinMs)
}

interface Eviction {
  readonly devices: readonly Device[]
  readonly bytes: number
  readonly victims: Victims
  /** To load the model there, on top of what the victims lose, less what is freed beyond the need. */
  readonly extraSeconds: number
}

function cheapestOf(
  view: ClusterView,
  spec: ModelSpec,
  { count, pools }: SpotTier,
  choice: VictimChoice,
): Eviction | undefined {
  const bytes = shareBytes(spec, count)
  let best: Eviction | undefined
  for (const pool of pools) {
    for (const part of count === 1 ? pool.map((device) => [device]) : [pool]) {
      const found = cheapestOn(part, bytes, count, choice)
      if (!found) continue
      const loadSeconds = loadMsOn(view.state, spec, found.devices[0]?.nodeId ?? '') / 1_000
      const eviction = { ...found, bytes, extraSeconds: loadSeconds - spareSeconds(found, bytes, choice) }
      if (!best || compareEvictions(eviction, best, choice) < 0) best = eviction
    }
  }
  return best
}

function spareSeconds(
  { devices, victims }: Pick<Eviction, 'devices' | 'victims'>,
  bytes: number,
  choice: VictimChoice,
): number {
  return devices.reduce((sum, { id }) => sum + choice.spareSeconds(id, bytes, victims), 0)
}

function compareEvictions(a: Eviction, b: Eviction, choice: VictimChoice): number {
  const [lossA, lossB] = [a.victims.loss, b.victims.loss]
  const difference = compareLoss(lossA, lossB)
  const isByValue =
    lossA.busy === lossB.busy && lossA.young === lossB.young && lossA.priority === lossB.priority
  if (choice.by === 'lru' || !isByValue) return difference
  return lossA.value + a.extraSeconds - (lossB.value + b.extraSeconds)
}

/** So many devices of the pool, one after the other the one that costs the least more. */
function cheapestOn(
  pool: readonly Device[],
  bytes: number,
  count: number,
  choice: VictimChoice,
): Pick<Eviction, 'devices' | 'victims'> | undefined {
  const devices: Device[] = []
  let victims = NO_VICTIMS
  while (devices.length < count) {
    let next: { readonly device: Device; readonly victims: Victims } | undefined
    for (const device of pool) {
      if (devices.includes(device)) continue
      const cover = coverOn(device, bytes, victims, choice)
      if (cover && (!next || compareLoss(cover.loss, next.victims.loss) < 0))
        next = { device, victims: cover }
    }
    if (!next) return undefined
    devices.push(next.device)
    victims = choice.together(victims, next.victims.instances)
  }
  const isEnough = (fewer: Victims) => devices.every(({ id }) => choice.missingBytes(id, bytes, fewer) <= 0)
  return { devices, victims: choice.needed(victims, isEnough) }
}

function coverOn(device: Device, bytes: number, chosen: Victims, choice: VictimChoice): Victims | undefined {
  const missing = choice.missingBytes(device.id, bytes, chosen)
  if (missing <= 0) return NO_VICTIMS
  return choice.cover(device.id, missing, choice.candidatesOn(device.id, chosen))
}

/** Of each model with a least number so many instances, those that would be missed most. */
function leastNumbers({ state }: ClusterView): ReadonlySet<Instance> {
  const byModel = new Map<string, Instance[]>()
  for (const instance of state.instances) {
    const { spec, state: phase } = instance
    if (spec.replicasMin === 0 || phase === 'draining' || phase === 'unloading') continue
    const instances = byModel.get(spec.name)
    if (instances) instances.push(instance)
    else byModel.set(spec.name, [instance])
  }
  const kept = [...byModel.values()].flatMap((instances) =>
    instances
      .sort((a, b) => b.inFlight - a.inFlight || b.worth - a.worth || b.lastUsedMs - a.lastUsedMs)
      .slice(0, instances[0]?.spec.replicasMin ?? 0),
  )
  return new Set(kept)
}

function reason(view: ClusterView, victims: readonly Instance[], { by }: EvictionPolicy): string {
  if (victims.length === 0) return 'enough is on its way out'
  if (by === 'lru') return 'not used for longest'
  const seconds = victims.reduce((sum, victim) => sum + savedSeconds(view, victim), 0)
  return `least worth, ${seconds.toFixed(1)} s of loading an hour`
}
