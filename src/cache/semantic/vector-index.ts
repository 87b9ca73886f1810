export interface Neighbour {
  readonly key: string
  /** The cosine: 1 for the same direction. */
  readonly similarity: number
}

/**
 * Finds what is most like something, within a partition and never beyond it: whatever must be equal is in the partition's
 * name, and similarity is asked only of what shares it.
 */
export interface VectorIndex {
  /** The most similar of the partition that is at least so similar. Of vectors of another length, none is. */
  nearest(partition: string, vector: Float32Array, threshold: number): Neighbour | undefined
  /** What had that key in the partition before is replaced. */
  add(partition: string, key: string, vector: Float32Array): void
  remove(partition: string, key: string): void
}
