/** How far a response is. */
export const RESPONSE_STATUSES = [
  'queued',
  'in_progress',
  'completed',
  'incomplete',
  'failed',
  'cancelled',
] as const

export type ResponseStatus = (typeof RESPONSE_STATUSES)[number]

/** Which response, and whose: another project's is not found. */
export interface ResponseKey {
  readonly organisationId: string
  readonly projectId: string
  readonly id: string
}

/** What is kept of a response. Its parts are JSON texts that only the gateway looks into. */
export interface KeptResponse extends ResponseKey {
  /** Who asked for it. */
  readonly actor: string
  /** The response that it continues. */
  readonly previousId: string | undefined
  readonly status: ResponseStatus
  readonly model: string
  readonly background: boolean
  readonly createdAtMs: number
  /** The list of items that it was asked with, without those of earlier responses. */
  readonly input: string
  /** The list of items that it consists of so far. */
  readonly output: string
  /** The response object without its output: settings, usage, error, metadata. */
  readonly response: string
}

/** One that is being made is given with the time for which its gateway answers for it. */
export interface SavedResponse extends KeptResponse {
  /** Undefined: it has ended. */
  readonly leaseMs: number | undefined
}

/** A response as it was found. */
export interface FoundResponse extends KeptResponse {
  /** It had not ended, and the gateway that made it has not been heard of since its lease ended. */
  readonly abandoned: boolean
}

/** One response of a conversation. */
export interface ResponseLink {
  readonly id: string
  readonly status: ResponseStatus
  readonly input: string
  readonly output: string
}

/** A conversation up to a response. */
export interface ResponseChain {
  /** The oldest first. */
  readonly links: readonly ResponseLink[]
  /**
   * `whole`: it goes back to its beginning; `broken`: an earlier response is not there any more; `long`: it has more
   * responses or more text than are ever read.
   */
  readonly extent: 'whole' | 'broken' | 'long'
}

/** Where responses are kept. In `helixflow up` the auth service's database stands behind it. */
export interface ResponsesStore {
  /** @throws HelixError `storage_unavailable` */
  insert(response: SavedResponse): Promise<void>
  /** @returns false when it is not there any more; @throws HelixError `storage_unavailable` */
  update(response: SavedResponse): Promise<boolean>
  /** @throws HelixError `storage_unavailable` */
  find(key: ResponseKey): Promise<FoundResponse | undefined>
  /** A response and those before it; no links when it is not there. @throws HelixError `storage_unavailable` */
  chain(key: ResponseKey): Promise<ResponseChain>
  /** @returns whether it was there; @throws HelixError `storage_unavailable` */
  remove(key: ResponseKey): Promise<boolean>
  /** The gateway that makes these answers for them so much longer. @throws HelixError `storage_unavailable` */
  renew(ids: readonly string[], leaseMs: number): Promise<void>
}
