import { historiesOf } from './histories.ts'
import type { ClusterState, Device, ModelHistory, ModelSpec } from './state.ts'
import { shareBytes } from './state.ts'
import { type ClusterView, isAllowedOn } from './view.ts'

/**
 * Share of the free memory that is of no use to the next model that is asked for, in the mean over what is asked for
 * most: the measure of FGD (Weng et al., Beware of Fragmentation, USENIX ATC 2023).
 */
export function strandedRatio(view: ClusterView): number {
  const holes = holesOf(view)
  const free = holes.reduce((sum, { freeBytes }) => sum + freeBytes, 0)
  if (free === 0) return 0
  const demand = mostLikely(demandOf(view.state.models))
  const asked = demand.reduce((sum, { chance }) => sum + chance, 0)
  let useless = 0
  for (const { device, freeBytes } of holes) {
    if (freeBytes === 0) continue
    for (const { spec, chance } of demand)
      if (neededOn(device, spec) > freeBytes) useless += (freeBytes * chance) / asked
  }
  return useless / free
}

/**
 * What the free bytes of a device that no model to come can use will cost, in seconds of loading: somebody must go
 * instead, and be loaded again. A model for which a quarter of its size lies useless counts as a quarter of its load,
 * times the chance that it is the next. FGD places along the steepest descent of this.
 */
export function strandedSecondsOf({ models }: ClusterState): StrandedSeconds {
  const curves = remembered.get(models) ?? new StrandedCurves(models)
  remembered.set(models, curves)
  return (device, freeBytes, takenBytes) => {
    const curve = curves.of(device)
    const left = freeBytes - takenBytes
    return left * curve.secondsPerByte(left) - freeBytes * curve.secondsPerByte(freeBytes)
  }
}

/** How much more it costs on that device when so many of its free bytes are taken; below zero where less does. */
export type StrandedSeconds = (device: Device, freeBytes: number, takenBytes: number) => number

/** By the value that they follow from alone, for most decisions come between two changes of what is asked for. */
const remembered = new WeakMap<ClusterState['models'], StrandedCurves>()

/** The rest is asked for too seldom to be worth the time of looking at it for each device. */
const MODELS_MAX = 16
/** What is never asked for yet may be: a tenth of the chance is everybody's alike. */
const EVERYBODYS = 0.1

interface Demand {
  readonly spec: ModelSpec
  /** That it is the next one to be asked for. */
  readonly chance: number
}

function demandOf(models: ClusterState['models']): Demand[] {
  const all = historiesOf(models)
  const rates = all.map(rateOf)
  let total = 0
  for (const rate of rates) total += rate
  const demand: Demand[] = []
  for (const [index, { spec }] of all.entries()) {
    const asked = total > 0 ? (rates[index] ?? 0) / total : 1 / all.length
    demand.push({ spec, chance: EVERYBODYS / all.length + (1 - EVERYBODYS) * asked })
  }
  return demand
}

/** The mean over the times that the forecast looks at. */
function rateOf({ arrivals: { rates } }: ModelHistory): number {
  let sum = 0
  for (const rate of rates) sum += rate
  return rates.length === 0 ? 0 : sum / rates.length
}

/** Those most likely to be next; of equals those that stand first. */
function mostLikely(demand: readonly Demand[]): readonly Demand[] {
  const most: Demand[] = []
  for (const one of demand) {
    if (most.length === MODELS_MAX && one.chance <= (most.at(-1)?.chance ?? 0)) continue
    const at = most.findIndex(({ chance }) => chance < one.chance)
    most.splice(at < 0 ? most.length : at, 0, one)
    if (most.length > MODELS_MAX) most.pop()
  }
  return most
}

class StrandedCurves {
  private readonly demand: readonly Demand[]
  private readonly byDevice = new WeakMap<Device, StrandedCurve>()
  private readonly byKind = new Map<string, StrandedCurve>()
  private readonly namesDevices: boolean

  constructor(models: ClusterState['models']) {
    this.demand = mostLikely(demandOf(models))
    this.namesDevices = this.demand.some(({ spec }) => spec.onlyOn !== undefined)
  }

  of(device: Device): StrandedCurve {
    const known = this.byDevice.get(device)
    if (known) return known
    const key = this.namesDevices ? `${device.id}\n${kindOf(device)}` : kindOf(device)
    const curve = this.byKind.get(key) ?? new StrandedCurve(device, this.demand)
    this.byKind.set(key, curve)
    this.byDevice.set(device, curve)
    return curve
  }
}

/** Devices of one kind are alike to all models, unless settings name single ones. */
function kindOf(device: Device): string {
  const known = kinds.get(device)
  if (known !== undefined) return known
  const { nodeId, kind, group, totalBytes, health } = device
  const made = [nodeId, kind, group, totalBytes, health].join('\n')
  kinds.set(device, made)
  return made
}

const kinds = new WeakMap<Device, string>()

/** The seconds that a useless byte costs on a device, by how many are free: a step at each model's need. */
class StrandedCurve {
  private readonly needs: readonly { readonly bytes: number; readonly secondsPerByte: number }[]

  constructor(device: Device, demand: readonly Demand[]) {
    this.needs = demand
      .map(({ spec, chance }) => ({
        bytes: neededOn(device, spec),
        secondsPerByte: (chance * spec.loadMs) / 1_000 / Math.max(1, spec.memoryBytes),
      }))
      .sort((a, b) => b.bytes - a.bytes)
  }

  secondsPerByte(freeBytes: number): number {
    let seconds = 0
    for (const { bytes, secondsPerByte } of this.needs) {
      if (bytes <= freeBytes) break
      seconds += secondsPerByte
    }
    return seconds
  }
}

/** What the model needs of that device: all of itself, the least share where only a split will do; or it may not. */
function neededOn(device: Device, spec: ModelSpec): number {
  if (!isAllowedOn(spec, device)) return Number.POSITIVE_INFINITY
  if (device.kind === 'cpu' || spec.memoryBytes <= device.totalBytes) return spec.memoryBytes
  return shareBytes(spec, spec.splitMax)
}

function holesOf({ state, freeBytes }: ClusterView) {
  return state.devices
    .filter(({ health }) => health === 'ok')
    .map((device) => ({ device, freeBytes: Math.max(0, freeBytes.get(device.id) ?? 0) }))
}
