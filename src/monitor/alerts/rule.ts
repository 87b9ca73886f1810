import type { Severity } from '../../contracts/monitor.ts'
import type { Condition } from '../query/query.ts'
import { labelsOfCondition } from '../query/selection.ts'

/** One alert as data: judged here, and written out as a rule of Prometheus. */
export interface AlertRule {
  /** In CamelCase. The same name with two severities is one trouble that gets worse. */
  readonly name: string
  readonly severity: Severity
  readonly condition: Condition
  /** How long the condition must hold before anybody is told. */
  readonly forMs: number
  /** What is so, in one sentence; `{model}` is a label, `{value}` the figure, `{value percent}` in that form (`text.ts`). */
  readonly summary: string
  /** What that means for those who use the platform. */
  readonly meaning: string
  /** What to do first. */
  readonly action: string
  /** What it explains: these are not told by themselves while it fires. */
  readonly explains?: readonly Explanation[] | undefined
}

export interface Explanation {
  readonly alerts: readonly string[]
  /** Labels that must be the same in both; none: whatever their labels are. */
  readonly equal?: readonly string[] | undefined
}

/** What tells one rule from all others. */
export function ruleId({ name, severity }: Pick<AlertRule, 'name' | 'severity'>): string {
  return `${name} ${severity}`
}

/** Path of its page under `docs/`. */
export function runbookOf({ name }: Pick<AlertRule, 'name'>): string {
  return `runbooks/${name}.md`
}

/** The labels of its alerts. */
export function labelsOfRule({ condition }: AlertRule): readonly string[] {
  return labelsOfCondition(condition)
}

/** An alert fires on for so long after its condition held last: what comes and goes is one trouble, not many. */
export const KEEP_FIRING_MS = 120_000
