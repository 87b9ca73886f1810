import type { LimitRule, LimitSubject } from '../contracts/limits.ts'

/** A rule as its table has it, or as a row in JSON, for those who read it together with something else. */
export interface LimitRuleRow {
  readonly id: string
  readonly organisation_id: string
  readonly holder_kind: LimitSubject['kind']
  readonly holder_id: string
  readonly project_id: string | null
  readonly each: LimitRule['each'] | null
  readonly measure: LimitRule['measure']
  readonly model: string | null
  // A bigint comes as text, in JSON as a number.
  readonly amount: string | number
  readonly algorithm: LimitRule['algorithm']
  readonly window_ms: string | number
  readonly burst: string | number | null
  readonly period: LimitRule['period'] | null
  readonly shape_max_wait_ms: string | number
  readonly created_at: Date | string
}

export function toLimitRule(row: LimitRuleRow): LimitRule {
  return {
    id: row.id,
    on: { kind: row.holder_kind, id: row.holder_id },
    each: row.each ?? undefined,
    measure: row.measure,
    model: row.model ?? undefined,
    amount: Number(row.amount),
    algorithm: row.algorithm,
    windowMs: Number(row.window_ms),
    burst: row.burst === null ? undefined : Number(row.burst),
    period: row.period ?? undefined,
    shapeMaxWaitMs: Number(row.shape_max_wait_ms),
  }
}
