import { SEVERITIES } from '../src/contracts/monitor.ts'
import type { AlertRule } from '../src/monitor/alerts/rule.ts'
import { RULES } from '../src/monitor/alerts/rules.ts'
import { queriesOf } from '../src/monitor/query/selection.ts'
import { metricsOf } from './expressions.ts'
import type { Panel } from './panel.ts'

/** More links than that nobody reads. */
const LINKS_MAX = 4

/** Names of the alerts about what a panel shows, the gravest first: their runbooks are linked. */
export function alertsAbout({ series }: Panel): readonly string[] {
  const shown = new Set(series.flatMap(({ query }) => metricsOf(query)))
  const about = RULES.filter((rule) => shown.has(subjectOf(rule))).sort(
    (one, other) => SEVERITIES.indexOf(one.severity) - SEVERITIES.indexOf(other.severity),
  )
  return [...new Set(about.map(({ name }) => name))].slice(0, LINKS_MAX)
}

/** The metric that an alert is about: the first that it names. Others are there to judge it by. */
function subjectOf({ condition }: AlertRule) {
  const [first] = queriesOf(condition).flatMap(metricsOf)
  if (first === undefined) throw new Error('an alert that asks for nothing')
  return first
}
