import { stringify } from 'yaml'
import { prometheusRules } from '../monitor/alerts/prometheus-rules.ts'
import { RULE_GROUPS } from '../monitor/alerts/rules.ts'

/** The alerts as a file of rules for Prometheus. */
export function alertRulesFile(): string {
  const head = '# Made from src/monitor/alerts/rules by npm run gen. What each alert means: docs/alerts.md.\n'
  return head + stringify(prometheusRules(RULE_GROUPS), { lineWidth: 0 })
}
