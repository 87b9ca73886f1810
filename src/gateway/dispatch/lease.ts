import type { Replica } from '../../contracts/pool.ts'
import type { Span } from '../../core/tracing.ts'
import type { RouteReason } from '../../scheduler/routing.ts'
import type { Tier } from '../../scheduler/tier.ts'
import type { Usage } from './usage.ts'

/** The right to use some slots of a replica. Give it back exactly once. */
export interface Lease {
  readonly replica: Replica
  readonly route: RouteReason
  /** How long it was waited for. */
  readonly waitedMs: number
  release(): void
}

/** What somebody wants an engine for, as far as their turn and the choice of a replica depend on it. */
export interface Want {
  readonly model: string
  readonly slots: number
  readonly signal: AbortSignal
  /** Of which the wait is a part. */
  readonly span: Span
  /** Who is to get no more of the model than others that want it. */
  readonly tenant: string
  readonly tier: Tier
  /** When it is too late, on the monotonic clock; undefined where it never is. */
  readonly deadlineMs: number | undefined
  readonly promptTokens: number
  /** Of all choices together; undefined where the request does not say. */
  readonly outputTokensMax: number | undefined
  /** Replicas that it goes back to only where there is no other. */
  readonly avoid: ReadonlySet<string>
  /** The beginnings of its prompt, by name, the shortest first. Asked only where there is a choice. */
  blocks(): readonly string[]
  /** What an engine has done for it. Asked when the lease is given back. */
  used(): Usage
}
