import type { AlertView, Silence } from '../contracts/monitor.ts'
import type { Notification } from './alerts/notification.ts'
import type { Query } from './query/query.ts'
import type { SampleSource } from './query/samples.ts'

/** The alerts that pend and fire, from round to round. */
export interface AlertBoard {
  /** Whatever the rules ask. */
  readonly queries: readonly Query[]
  /** Goes on where a monitor was when it saved this; from the beginning where it is undefined. */
  restore(state: unknown): void
  /** Judges every rule. @returns what people are to be told of now */
  judge(source: SampleSource, silences: readonly Silence[], nowMs: number): readonly Notification[]
  /** All that must be known after a restart, so that nothing is forgotten and nothing told again. */
  state(): unknown
  /** The gravest first. */
  views(): readonly AlertView[]
}
