/** Among which vectors something is compared: those of one tenant, and of what was equal but for its words. */
export interface VectorPlace {
  readonly organisationId: string
  readonly partition: string
}

/** What is looked for. Vectors with another number of dimensions are not like it at all. */
export interface VectorQuery extends VectorPlace {
  /** Of length 1. */
  readonly direction: Float32Array
  /** A cosine: what is less similar is not given. */
  readonly threshold: number
  /** So many at most. */
  readonly limit: number
}

/** A vector that is kept. What had its key in that place before is replaced. */
export interface KeptVector extends VectorPlace {
  readonly key: string
  /** Of length 1. */
  readonly direction: Float32Array
  /** Afterwards nobody finds it any more. */
  readonly keepMs: number
}

/** What was found. */
export interface NearVector {
  readonly key: string
  /** The cosine: 1 for the same direction. */
  readonly similarity: number
}

/** With what vectors are kept, such as `pgvector 0.6.2`; or why they are not. */
export type VectorSupport = { readonly with: string } | { readonly without: string }

/** Vectors that all gateways share, behind the auth service, for the gateway has no database. */
export interface VectorStore {
  /** As it was when the service started. @throws HelixError `storage_unavailable` */
  support(): Promise<VectorSupport>
  /** The most similar first. @throws HelixError `storage_unavailable`; `not_implemented` without support */
  nearest(query: VectorQuery): Promise<readonly NearVector[]>
  /** The oldest of a full place makes room. @throws HelixError as `nearest` */
  add(vector: KeptVector): Promise<void>
  /** @throws HelixError as `nearest` */
  remove(place: VectorPlace, keys: readonly string[]): Promise<void>
}
