/** Among which vectors something is compared; nothing of another tenant or partition is ever found. */
export interface VectorPlace {
  readonly tenant: string
  /** Names whatever must be equal. */
  readonly partition: string
}

/** How like something must be, and how many of it are wanted. */
export interface Nearness {
  /** A cosine. */
  readonly threshold: number
  readonly limit: number
}

export interface Neighbour {
  readonly key: string
  /** The cosine: 1 for the same direction. */
  readonly similarity: number
}

export interface Located {
  readonly key: string
  readonly vector: Float32Array
  /** Afterwards it is not found any more. */
  readonly keepMs: number
}

/**
 * Finds what is most like something, within a place and never beyond it: whatever must be equal is in the partition's
 * name, and similarity is asked only of what shares it. It never fails: what it cannot do is not done.
 */
export interface VectorIndex {
  /** The most similar of the place first. Of vectors of another length, none is. */
  nearest(place: VectorPlace, vector: Float32Array, nearness: Nearness): Promise<readonly Neighbour[]>
  /** What had that key in the place before is replaced. */
  add(place: VectorPlace, located: Located): Promise<void>
  remove(place: VectorPlace, keys: readonly string[]): Promise<void>
}
