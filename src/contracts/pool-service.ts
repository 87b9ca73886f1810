/** A node as the pool that leads knows it. */
export interface NodeView {
  readonly id: string
  readonly rpcUrl: string
  readonly joinedAtMs: number
  /** Since it was heard last. */
  readonly silentMs: number
}

/** Which pool leads, as far as the one that was asked knows. */
export interface LeaderView {
  /** Whether it is the one that was asked. */
  readonly leads: boolean
  readonly epoch: number
  readonly url: string | undefined
}

/** What a gateway uses of a replica, and the share that it abides by. */
export interface SlotUse {
  readonly replicaId: string
  readonly inUse: number
  readonly slots: number
}
