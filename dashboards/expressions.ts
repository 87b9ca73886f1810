import type { MetricName } from '../src/core/metrics.ts'
import type { Query } from '../src/monitor/query/query.ts'
import { parts } from '../src/monitor/query/selection.ts'
import type { Dashboard } from './panel.ts'
import { expressionOf } from './variables.ts'

export interface PanelExpression {
  readonly panel: string
  readonly expression: string
  readonly metrics: readonly MetricName[]
}

/** What a dashboard asks Prometheus, as its panels have it. */
export function panelExpressions({ uid, sections, variables }: Dashboard): PanelExpression[] {
  return sections.flatMap(({ panels }) =>
    panels.flatMap(({ title, series, whole }) =>
      series.map(({ query }) => ({
        panel: `${uid}: ${title}`,
        expression: expressionOf(query, whole ? [] : variables),
        metrics: metricsOf(query),
      })),
    ),
  )
}

/** The questions that name a metric themselves. */
export type Leaf = Extract<Query, { metric: MetricName }>

export function leavesOf(query: Query): Leaf[] {
  return parts(query).filter((one): one is Leaf => 'metric' in one)
}

export function metricsOf(query: Query): MetricName[] {
  return leavesOf(query).map(({ metric }) => metric)
}
