import {
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  TextBoxVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { METRICS, type MetricName } from '../src/core/metrics.ts'
import { promDuration, promql } from '../src/monitor/query/promql.ts'
import type { Query } from '../src/monitor/query/query.ts'
import type { Dashboard, Variable } from './panel.ts'
import { RATE_WINDOW_MS } from './queries.ts'

export const DATA_SOURCE = { type: 'prometheus', uid: '$datasource' }

/** Where runbooks are, unless whoever exports says otherwise: Grafana serves what the compose file puts there. */
export const RUNBOOKS = '/public/runbooks'

/** Label, title, and the metric of which every value of the label is known. */
const SOURCES: Readonly<Record<Variable, readonly [title: string, metric: MetricName]>> = {
  role: ['Role', 'helixflow_build_info'],
  instance: ['Process', 'helixflow_build_info'],
  model: ['Model', 'helixflow_requests_total'],
  device: ['Device', 'helixflow_device_memory_bytes'],
  project: ['Project', 'helixflow_cost_total'],
}

/** What can be chosen at the top of a dashboard. */
export function variablesOf({ variables }: Dashboard) {
  return [
    new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'),
    ...variables.map((variable) => {
      const [title, metric] = SOURCES[variable]
      const query = `label_values(${metric}${narrowed(variable, variables)}, ${variable})`
      return (
        new QueryVariableBuilder(variable)
          .label(title)
          .datasource(DATA_SOURCE)
          .query({ query, refId: variable })
          .definition(query)
          .refresh(VariableRefresh.OnTimeRangeChanged)
          .sort(VariableSort.AlphabeticalAsc)
          .multi(true)
          .includeAll(true)
          // Not the names one by one: what has no such label is to be seen too.
          .allValue('.*')
          .current({ text: ['All'], value: ['$__all'] })
      )
    }),
    new TextBoxVariableBuilder('runbooks')
      .label('Runbooks at')
      .defaultValue(RUNBOOKS)
      .current({ text: RUNBOOKS, value: RUNBOOKS }),
  ]
}

function narrowed(variable: Variable, variables: readonly Variable[]): string {
  return variable === 'instance' && variables.includes('role') ? '{role=~"$role"}' : ''
}

/** The expression of a panel: narrowed by what is chosen, with rates over the window that suits the span looked at. */
export function expressionOf(query: Query, variables: readonly Variable[]): string {
  return promql(filtered(query, variables)).replaceAll(
    `[${promDuration(RATE_WINDOW_MS)}]`,
    '[$__rate_interval]',
  )
}

function filtered(query: Query, variables: readonly Variable[]): Query {
  switch (query.kind) {
    case 'ratio':
      return { ...query, of: filtered(query.of, variables), to: filtered(query.to, variables) }
    case 'difference':
      return { ...query, of: filtered(query.of, variables), less: filtered(query.less, variables) }
    case 'sum':
      return { ...query, of: filtered(query.of, variables), and: filtered(query.and, variables) }
    case 'scale':
      return { ...query, of: filtered(query.of, variables) }
    default: {
      const chosen = narrowing(query.metric, variables)
      const filters = chosen.map((variable) => [variable, new RegExp(`$${variable}`)])
      // Only labels that the metric has, by the line above.
      return { ...query, where: { ...Object.fromEntries(filters), ...query.where } } as Query
    }
  }
}

/** By which of what can be chosen a metric can be narrowed. */
export function narrowing(metric: MetricName, variables: readonly Variable[]): Variable[] {
  const labels: readonly string[] = METRICS[metric].labels
  return variables.filter(
    (variable) => variable === 'role' || variable === 'instance' || labels.includes(variable),
  )
}
