/** Where the gateway's usage records go. In `helixflow up` the auth service itself stands behind it. */
export interface UsageSink {
  /**
   * Keeps every record, once: one that was given before changes nothing, so a batch whose fate is not known is given
   * again. All of the batch or none.
   * @throws HelixError `storage_unavailable`; `invalid_value` when a record can never be kept
   */
  record(batch: readonly UsageRecord[]): Promise<void>
}

/** What of it is left after a batch was kept, for those who ask. */
export interface UsageClient extends UsageSink {
  /** Sums by hour, day, model or project, in that order. @throws HelixError `invalid_value`, `storage_unavailable` */
  summary(query: UsageSummaryQuery): Promise<readonly UsageSummaryRow[]>
  /** Single requests, newest first. @throws HelixError `invalid_value`, `storage_unavailable` */
  list(query: UsageListQuery): Promise<UsagePage>
}

/** What one request cost, and whose it was. Never what was said in it. */
export interface UsageRecord {
  /** The `x-request-id` of the answer; unique. */
  readonly requestId: string
  readonly startedAtMs: number
  readonly durationMs: number
  /** From the arrival of the request to the first token of a stream. */
  readonly firstTokenMs?: number | undefined
  readonly organisationId: string
  readonly projectId: string
  readonly keyId: string
  readonly model: string
  readonly route: string
  /** As in the access log: 499 where the client left, also when the stream had begun with 200. */
  readonly status: number
  readonly errorCode?: string | undefined
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
  /** The engine did not say how many tokens: they were counted from what it sent. */
  readonly estimated: boolean
  readonly streamed: boolean
  /** The caller's own label for its user. */
  readonly user?: string | undefined
  /** The person behind the request, where there is one. */
  readonly userId?: string | undefined
  /** In billionths of the unit that the prices are in; 0 where the model has no price. */
  readonly cost: number
  /** The answer was kept from an earlier request, or shared with one that ran; undefined: an engine made it. */
  readonly cache?: 'hit' | 'coalesced' | undefined
  /** The gateway that served it. */
  readonly instance: string
}

export interface UsageSummaryQuery {
  readonly organisationId: string
  readonly projectId?: string | undefined
  readonly model?: string | undefined
  /** Whole hours: the hour that holds it is included. */
  readonly fromMs: number
  /** The hour that begins here is not included. */
  readonly toMs: number
  readonly groupBy: UsageGrouping
}

/** Hours and days are those of UTC. */
export type UsageGrouping = 'hour' | 'day' | 'model' | 'project'

export interface UsageSummaryRow {
  /** The model, the project's id, or the beginning of the hour or day as `2026-01-31T08:00:00.000Z`. */
  readonly group: string
  readonly requests: number
  readonly errors: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
  /** In billionths. */
  readonly cost: number
}

export interface UsageListQuery {
  readonly organisationId: string
  readonly projectId?: string | undefined
  readonly model?: string | undefined
  readonly fromMs: number
  readonly toMs: number
  /** At most 1,000. */
  readonly limit: number
  /** What the page before gave as `next`. */
  readonly after?: UsagePosition | undefined
}

export interface UsagePosition {
  readonly startedAtMs: number
  readonly requestId: string
}

export interface UsagePage {
  readonly records: readonly UsageRecord[]
  /** Undefined on the last page. */
  readonly next: UsagePosition | undefined
}
