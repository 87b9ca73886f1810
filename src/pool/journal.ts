import { decide } from '../scheduler/decide.ts'
import type { SchedulerEvent } from '../scheduler/events.ts'
import type { Policy } from '../scheduler/policy.ts'
import type { DecisionRecord } from '../scheduler/records.ts'
import type { ClusterState } from '../scheduler/state.ts'

/** What happened since `base`, in order: enough to decide everything once more. */
export interface JournalView {
  readonly base: ClusterState
  readonly events: readonly JournalEntry[]
}

export interface JournalEntry {
  readonly atMs: number
  readonly event: SchedulerEvent
}

/** A decision with the calendar time at which it was made. */
export interface DatedRecord {
  readonly calendarMs: number
  readonly record: DecisionRecord
}

const EVENTS_MAX = 4_096
const RECORDS_MAX = 1_024

/** The latest events and decisions, bounded: what an operator looks at when something is strange. */
export class Journal {
  private base: ClusterState
  private events: JournalEntry[] = []
  private readonly records: DatedRecord[] = []

  constructor(start: ClusterState) {
    this.base = start
  }

  /** @param before the state that the event met */
  event(entry: JournalEntry, before: ClusterState): void {
    if (this.events.length >= EVENTS_MAX) {
      this.base = before
      this.events = []
    }
    this.events.push(entry)
  }

  decided(calendarMs: number, records: readonly DecisionRecord[]): void {
    for (const record of records) this.records.push({ calendarMs, record })
    this.records.splice(0, this.records.length - RECORDS_MAX)
  }

  /** Those of one model, or all, the newest first. */
  decisions(model?: string): readonly DatedRecord[] {
    return this.records.filter(({ record }) => model === undefined || record.model === model).reverse()
  }

  view(): JournalView {
    return { base: this.base, events: [...this.events] }
  }
}

/** The state after all that happened: the same as the one that the journal was kept beside. */
export function replay({ base, events }: JournalView, policy: Policy): ClusterState {
  return events.reduce((state, { atMs, event }) => decide(state, event, policy, atMs).state, base)
}
