import { addLoss, compareLoss, type Loss, lossOf, NO_LOSS } from './loss.ts'
import type { EvictionPolicy } from './policy.ts'
import type { Instance } from './state.ts'
import type { ClusterView } from './view.ts'

/** An instance that may go, and what that costs. */
export interface Candidate {
  readonly instance: Instance
  readonly loss: Loss
}

/** Those that go together. */
export interface Victims {
  readonly instances: readonly Candidate[]
  readonly loss: Loss
}

/** Nobody needs to go. */
export const NO_VICTIMS: Victims = { instances: [], loss: NO_LOSS }

/** Chooses among the instances that may go; looks at each of them once. */
export class VictimChoice {
  private readonly known = new Map<Instance, Candidate>()
  private readonly stay = new Set<Instance>()
  readonly by: EvictionPolicy['by']
  private readonly view: ClusterView
  private readonly policy: EvictionPolicy
  private readonly mayGo: (instance: Instance, loss: Loss) => boolean

  constructor(view: ClusterView, policy: EvictionPolicy, mayGo: (instance: Instance, loss: Loss) => boolean) {
    this.view = view
    this.policy = policy
    this.by = policy.by
    this.mayGo = mayGo
  }

  /**
   * Bytes of the device that are missing to `bytes`, once all is gone that is on its way out or among `chosen`.
   */
  missingBytes(deviceId: string, bytes: number, chosen: Victims): number {
    let missing = bytes - (this.view.freeBytes.get(deviceId) ?? 0)
    for (const instance of this.view.instancesOn.get(deviceId) ?? []) {
      if (instance.state === 'draining' || instance.state === 'unloading') {
        missing -= bytesOn(instance, deviceId)
      }
    }
    for (const { instance } of chosen.instances) missing -= bytesOn(instance, deviceId)
    return missing
  }

  /** Those of the device that may go and are not chosen yet, the least loss for its room first. */
  candidatesOn(deviceId: string, chosen: Victims): readonly Candidate[] {
    const candidates: Candidate[] = []
    for (const instance of this.view.instancesOn.get(deviceId) ?? []) {
      const candidate = this.candidate(instance)
      if (candidate && !chosen.instances.includes(candidate)) candidates.push(candidate)
    }
    return candidates.sort(this.by === 'gdsf' ? compareByWorth : compareByUse)
  }

  /**
   * Those that together have so many bytes of the device, in the order they come: as in GDSF the least worth for its
   * bytes first. A set that loses less now is mostly there, a small one that just suffices, but evictions come one
   * after another: what a large one frees beyond the need is the next model's, and by the lesser loss now what is worth
   * little and is large would stay for good. Two weeks replayed had about a sixth fewer cold starts.
   */
  cover(deviceId: string, missingBytes: number, candidates: readonly Candidate[]): Victims | undefined {
    const instances: Candidate[] = []
    let loss = NO_LOSS
    let missing = missingBytes
    for (const candidate of candidates) {
      if (missing <= 0) break
      instances.push(candidate)
      loss = addLoss(loss, candidate.loss, this.by)
      missing -= bytesOn(candidate.instance, deviceId)
    }
    return missing <= 0 ? { instances, loss } : undefined
  }

  /**
   * What the bytes are worth that the victims free on the device beyond the need, since somebody else will have them:
   * by the byte as much as that of the victims which is worth the most.
   */
  spareSeconds(deviceId: string, bytes: number, victims: Victims): number {
    if (this.by === 'lru') return 0
    const spareBytes = -this.missingBytes(deviceId, bytes, victims)
    let dearest = 0
    let freedBytes = 0
    for (const candidate of victims.instances) {
      const freed = bytesOn(candidate.instance, deviceId)
      if (freed > 0) dearest = Math.max(dearest, perByte(candidate))
      freedBytes += freed
    }
    return dearest * Math.max(0, Math.min(spareBytes, freedBytes))
  }

  together(victims: Victims, more: readonly Candidate[]): Victims {
    const instances = [...victims.instances, ...more]
    return { instances, loss: this.lossOfAll(instances) }
  }

  /** Without those that turned out not to be needed, the greatest loss first. */
  needed(victims: Victims, isEnough: (fewer: Victims) => boolean): Victims {
    // A lone one was chosen because it is.
    if (victims.instances.length < 2) return victims
    let kept = victims
    const greatestFirst = [...victims.instances].sort((a, b) => compareLoss(b.loss, a.loss))
    for (const candidate of greatestFirst) {
      const instances = kept.instances.filter((one) => one !== candidate)
      const fewer = { instances, loss: this.lossOfAll(instances) }
      if (isEnough(fewer)) kept = fewer
    }
    return kept
  }

  private lossOfAll(candidates: readonly Candidate[]): Loss {
    return candidates.reduce((sum, { loss }) => addLoss(sum, loss, this.by), NO_LOSS)
  }

  private candidate(instance: Instance): Candidate | undefined {
    if (instance.state !== 'ready' || instance.spec.pinned) return undefined
    const known = this.known.get(instance)
    if (known || this.stay.has(instance)) return known
    const loss = lossOf(this.view, instance, this.policy)
    if (!this.mayGo(instance, loss)) {
      this.stay.add(instance)
      return undefined
    }
    const candidate = { instance, loss }
    this.known.set(instance, candidate)
    return candidate
  }
}

function compareByWorth(a: Candidate, b: Candidate): number {
  return compareKinds(a.loss, b.loss) || perByte(a) - perByte(b) || compareUse(a, b)
}

function compareByUse(a: Candidate, b: Candidate): number {
  return compareKinds(a.loss, b.loss) || compareUse(a, b)
}

function compareKinds(a: Loss, b: Loss): number {
  return a.busy - b.busy || a.young - b.young || a.priority - b.priority
}

function compareUse(a: Candidate, b: Candidate): number {
  return a.instance.lastUsedMs - b.instance.lastUsedMs
}

function perByte({ instance, loss }: Candidate): number {
  return loss.value / Math.max(1, instance.spec.memoryBytes)
}

function bytesOn({ shares }: Instance, deviceId: string): number {
  for (const share of shares) if (share.deviceId === deviceId) return share.bytes
  return 0
}
