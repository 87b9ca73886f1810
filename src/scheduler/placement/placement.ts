import type { ScoredCandidate } from '../records.ts'
import { type Device, type ModelSpec, type Share, shareBytes } from '../state.ts'
import { allowedDevices, type ClusterView } from '../view.ts'
import { type SpotTier, spotOn, spotTiers } from './spots.ts'

/** A strategy decides and does nothing else: no clock, no log, no I/O, no mutation. */
export type PlacementStrategy = (view: ClusterView, spec: ModelSpec) => Placement

/** Where a model goes, or why it goes nowhere. */
export type Placement =
  | {
      readonly kind: 'placed'
      readonly nodeId: string
      readonly shares: readonly Share[]
      readonly because: string
      /** The places that were looked at, the one taken first. */
      readonly candidates: readonly ScoredCandidate[]
    }
  | {
      readonly kind: 'unplaceable'
      /** `no-device`: none is allowed and alive. `larger-than-any-device`: even empty ones would not do. */
      readonly reason: 'no-device' | 'larger-than-any-device' | 'memory-exhausted'
      readonly neededBytes: number
      /** The largest model of its kind, split as it may be, that the allowed devices could hold, were they empty. */
      readonly largestBytes: number
    }

/** How a strategy tells devices apart. */
export interface Ranking {
  /** Names of what `against` says. */
  readonly parts: readonly string[]
  /** Whether all parts are seconds, whose sum counts; else the first part that differs decides. */
  readonly inSeconds: boolean
  /**
   * What speaks against giving the device one of `count` shares of the model, the least is taken; over the devices of
   * a split it adds up, so that those with the least each make the best split.
   */
  against(device: Device, bytes: number, count: number): readonly number[]
  because(best: readonly number[]): string
}

/** Operators read these; the tenth best place explains nothing. */
const CANDIDATES_MAX = 8

/** The best spot with room by that ranking, or why there is none. */
export function place(view: ClusterView, spec: ModelSpec, ranking: Ranking): Placement {
  const allowed = allowedDevices(view.state.devices, spec)
  for (const tier of spotTiers(allowed, spec.splitMax)) {
    const [best, ...others] = ratedSpots(view, spec, tier, ranking)
    const spot = best && spotOn(best.devices, shareBytes(spec, tier.count))
    if (!best || !spot) continue
    const candidates = [best, ...others].map((rated) => scored(rated, ranking))
    return { kind: 'placed', ...spot, because: ranking.because(best.against), candidates }
  }
  const largestBytes = largestModelBytes(allowed, spec)
  const never = largestBytes < spec.memoryBytes ? 'larger-than-any-device' : 'memory-exhausted'
  const reason = allowed.length === 0 ? 'no-device' : never
  return { kind: 'unplaceable', reason, neededBytes: spec.memoryBytes, largestBytes }
}

interface RatedSpot {
  readonly devices: readonly Device[]
  readonly against: readonly number[]
  /** What decides first: the seconds in sum, or the first part. */
  readonly total: number
}

/** The best few spots of a tier; equals stay in the order in which their devices were registered. */
function ratedSpots(
  view: ClusterView,
  spec: ModelSpec,
  { count, pools }: SpotTier,
  ranking: Ranking,
): readonly RatedSpot[] {
  const bytes = shareBytes(spec, count)
  const compare = comparison(ranking)
  const best = new BestFew(count === 1 ? CANDIDATES_MAX : count, compare)
  const splits = new BestFew(CANDIDATES_MAX, compare)
  for (const pool of pools) {
    for (const device of pool) {
      if (device.health !== 'ok' || (view.freeBytes.get(device.id) ?? 0) < bytes) continue
      best.offer(rated([device], ranking.against(device, bytes, count), ranking))
    }
    if (count === 1) continue
    const shares = best.take()
    if (shares.length === count) splits.offer(together(shares, ranking))
  }
  return count === 1 ? best.take() : splits.take()
}

/** Keeps the best of what it was offered: cheaper than sorting all for a handful. */
class BestFew {
  private kept: RatedSpot[] = []
  private readonly max: number
  private readonly compare: (a: RatedSpot, b: RatedSpot) => number

  constructor(max: number, compare: (a: RatedSpot, b: RatedSpot) => number) {
    this.max = max
    this.compare = compare
  }

  offer(spot: RatedSpot): void {
    const last = this.kept[this.max - 1]
    if (last && this.compare(spot, last) >= 0) return
    const at = this.kept.findIndex((other) => this.compare(spot, other) < 0)
    this.kept.splice(at < 0 ? this.kept.length : at, 0, spot)
    if (this.kept.length > this.max) this.kept.pop()
  }

  take(): readonly RatedSpot[] {
    const { kept } = this
    this.kept = []
    return kept
  }
}

function rated(devices: readonly Device[], against: readonly number[], { inSeconds }: Ranking): RatedSpot {
  if (!inSeconds) return { devices, against, total: against[0] ?? 0 }
  let total = 0
  for (const part of against) total += part
  return { devices, against, total }
}

function together(shares: readonly RatedSpot[], ranking: Ranking): RatedSpot {
  const parts = shares[0]?.against ?? []
  const against = parts.map((_, part) => shares.reduce((sum, share) => sum + (share.against[part] ?? 0), 0))
  return rated(
    shares.flatMap(({ devices }) => devices),
    against,
    ranking,
  )
}

function comparison({ inSeconds }: Ranking): (a: RatedSpot, b: RatedSpot) => number {
  if (inSeconds) return (a, b) => a.total - b.total
  return (a, b) => {
    if (a.total !== b.total) return a.total - b.total
    for (let part = 1; part < a.against.length; part++) {
      const difference = (a.against[part] ?? 0) - (b.against[part] ?? 0)
      if (difference !== 0) return difference
    }
    return 0
  }
}

function scored({ devices, against, total }: RatedSpot, { parts, inSeconds }: Ranking): ScoredCandidate {
  return {
    devices: devices.map(({ id }) => id),
    cost: inSeconds ? total : undefined,
    parts: Object.fromEntries(parts.map((name, part) => [name, against[part] ?? 0])),
  }
}

/** By `shareBytes`: of n devices the smallest bounds every share, and the part that each needs whole counts once. */
function largestModelBytes(allowed: readonly Device[], spec: ModelSpec): number {
  let largestBytes = 0
  for (const { count, pools } of spotTiers(allowed, spec.splitMax)) {
    for (const pool of pools) {
      const smallest = pool.map(({ totalBytes }) => totalBytes).sort((a, b) => b - a)[count - 1] ?? 0
      largestBytes = Math.max(largestBytes, count * (smallest - spec.perDeviceBytes) + spec.perDeviceBytes)
    }
  }
  return largestBytes
}
