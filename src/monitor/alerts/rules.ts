import type { AlertRule } from './rule.ts'
import { BUDGET_RULES } from './rules/budgets.ts'
import { MODEL_RULES } from './rules/models.ts'
import { OBJECTIVE_RULES } from './rules/objectives.ts'
import { REQUEST_RULES } from './rules/requests.ts'
import { SERVICE_RULES } from './rules/services.ts'
import { STORAGE_RULES } from './rules/storage.ts'

/** Every alert, by the group it belongs to. What is judged here and what Prometheus judges is made of this table alone. */
export const RULE_GROUPS: Readonly<Record<string, readonly AlertRule[]>> = {
  objectives: OBJECTIVE_RULES,
  requests: REQUEST_RULES,
  budgets: BUDGET_RULES,
  models: MODEL_RULES,
  storage: STORAGE_RULES,
  services: SERVICE_RULES,
}

export const RULES: readonly AlertRule[] = Object.values(RULE_GROUPS).flat()
