import type { AlertRule } from '../rule.ts'
import { above, MINUTE_MS } from '../rule-parts.ts'

const used = {
  kind: 'gauge',
  combine: 'max',
  metric: 'helixflow_budget_used_ratio',
  by: ['rule'],
} as const

export const BUDGET_RULES: readonly AlertRule[] = [
  {
    name: 'BudgetUsed',
    severity: 'warning',
    condition: above(used, 0.999),
    forMs: 0,
    summary: 'The budget of rule {rule} is used up ({value percent}).',
    meaning: 'Whoever it binds gets insufficient_quota until it begins anew or is raised.',
    action: 'See what it was spent on, and raise it if that was meant.',
  },
  {
    name: 'BudgetUsed',
    severity: 'info',
    condition: above(used, 0.8),
    forMs: 0,
    summary: '{value percent} of the budget of rule {rule} is used.',
    meaning: 'When it is used up, whoever it binds gets insufficient_quota.',
    action: 'See what it is spent on, while there is time to raise it or to spend less.',
  },
  {
    name: 'BudgetDrift',
    severity: 'warning',
    condition: above(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_budget_drift', by: ['instance'] },
      0.01,
    ),
    forMs: 15 * MINUTE_MS,
    summary: 'At the gateway {instance} idle budgets differ by {value} from what the database has of them.',
    meaning: 'Somebody is refused too early or too late by so much money.',
    action: 'Read which budget the log of the gateway names; see whether usage records wait in its spool.',
  },
]
