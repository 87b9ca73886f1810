import type { PlacementStrategy } from './placement/placement.ts'

/** How decisions are made; constant while the program runs. Times in milliseconds. */
export interface Policy {
  readonly place: PlacementStrategy
  readonly evict: EvictionPolicy
  readonly defragment: DefragmentPolicy
  readonly balance: BalancePolicy
  readonly prefetch: PrefetchPolicy
  readonly scale: ScalePolicy
  /** A load or an unload that takes longer is given up and its process ended. */
  readonly transitionTimeoutMs: number
  /** Pause before a crashed model is loaded again; doubles with each crash in the window, up to the maximum. */
  readonly crashPauseMs: number
  readonly crashPauseMaxMs: number
  readonly crashWindowMs: number
  /** This many crashes in the window and the model is quarantined. */
  readonly crashesMax: number
}

export interface EvictionPolicy {
  /** `gdsf`: what is cheap to load again for the room that it takes goes first. `lru`: what was not used longest. */
  readonly by: 'gdsf' | 'lru'
  /** What became ready less than this ago stays, unless it alone is in the way of something that waits too long. */
  readonly residencyMinMs: number
  /**
   * A model with requests is drained for another one only when that one has waited this long: requests of one model
   * are worked off together instead of models taking turns for each.
   */
  readonly swapWaitMs: number
}

export interface DefragmentPolicy {
  readonly enabled: boolean
  readonly movesMax: number
  /** A plan is worth at least this many times its own cost in seconds of loading. */
  readonly gainMin: number
  readonly planTimeoutMs: number
}

export interface BalancePolicy {
  readonly enabled: boolean
  /** A move takes at least this many times as many seconds of computing from the busier device as its load takes. */
  readonly gainMin: number
}

export interface PrefetchPolicy {
  readonly enabled: boolean
  /** Share of the time spent loading that prefetches which nobody used may take. */
  readonly wasteMax: number
  /** Below this share of useful prefetches nothing is prefetched until it recovers. */
  readonly precisionMin: number
}

export interface ScalePolicy {
  /** Share of the slots in use above which another replica is added. */
  readonly busyMax: number
  /** How long a replica must have been more than is needed before it goes. */
  readonly downAfterMs: number
}
