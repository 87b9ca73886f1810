import { promDuration, promqlOfCondition } from '../query/promql.ts'
import { type AlertRule, KEEP_FIRING_MS, runbookOf } from './rule.ts'
import { prometheusTemplate } from './text.ts'

/** The content of a file of rules, as Prometheus reads it. */
export interface PrometheusRulesFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly PrometheusRule[] }[]
}

export interface PrometheusRule {
  readonly alert: string
  readonly expr: string
  readonly for: string
  readonly keep_firing_for: string
  readonly labels: { readonly severity: string }
  readonly annotations: Readonly<Record<'summary' | 'meaning' | 'action' | 'runbook', string>>
}

/** The table of alerts as rules of Prometheus, which judges and tells them alike. Needs 2.42 or later. */
export function prometheusRules(groups: Readonly<Record<string, readonly AlertRule[]>>): PrometheusRulesFile {
  return {
    groups: Object.entries(groups).map(([name, rules]) => ({
      name: `helixflow-${name}`,
      rules: rules.map(ruleOf),
    })),
  }
}

function ruleOf(rule: AlertRule): PrometheusRule {
  return {
    alert: rule.name,
    expr: promqlOfCondition(rule.condition),
    for: promDuration(rule.forMs),
    keep_firing_for: promDuration(KEEP_FIRING_MS),
    labels: { severity: rule.severity },
    annotations: {
      summary: prometheusTemplate(rule.summary),
      meaning: rule.meaning,
      action: rule.action,
      runbook: `docs/${runbookOf(rule)}`,
    },
  }
}
