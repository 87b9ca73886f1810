import type { Severity } from '../../contracts/monitor.ts'

/**
 * What is to be told of one group of alerts. Made by the evaluator; whoever delivers it decides to whom, and remembers by
 * `id` what was delivered.
 */
export interface Notification {
  /** The same for the same group and state, so that telling it twice can be seen: group, status and moment. */
  readonly id: string
  /** One receiver by name; all whose settings want it where undefined. */
  readonly receiver?: string | undefined
  readonly group: NotificationGroup
  /** `firing` while any alert of the group does; `resolved` once the last is. */
  readonly status: 'firing' | 'resolved'
  /** The firing ones first, then those that were resolved since the group was told of last. */
  readonly alerts: readonly NotifiedAlert[]
  /**
   * Nothing changed since the group was told of last. Made every few minutes while it fires: whoever delivers drops what
   * has come too early for its receiver's `repeatEvery`, which needs no other clock.
   */
  readonly reminder: boolean
  readonly atMs: number
}

/** Alerts that are told of together. */
export interface NotificationGroup {
  /** `alert severity`: what orders deliveries to one receiver. */
  readonly key: string
  readonly alert: string
  readonly severity: Severity
}

/** One alert as it is told to people. */
export interface NotifiedAlert {
  readonly alert: string
  readonly severity: Severity
  readonly status: 'firing' | 'resolved'
  readonly labels: Readonly<Record<string, string>>
  /** The figure that made it, as it was last seen. */
  readonly value: number | undefined
  /** What is so, in one sentence with its figures. */
  readonly summary: string
  /** What that means for those who use the platform. */
  readonly meaning: string
  /** What to do. */
  readonly action: string
  /** Path of its page under `docs/`, such as `runbooks/NodeDown.md`. */
  readonly runbook: string
  readonly startedAtMs: number
  readonly endedAtMs?: number | undefined
}
