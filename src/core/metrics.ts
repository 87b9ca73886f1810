import type { MetricDeclaration } from './metrics/declaration.ts'
import { GATEWAY_METRICS } from './metrics/gateway-metrics.ts'
import { MONITOR_METRICS } from './metrics/monitor-metrics.ts'
import { POOL_METRICS } from './metrics/pool-metrics.ts'
import { PROCESS_METRICS } from './metrics/process-metrics.ts'
import { REALTIME_METRICS } from './metrics/realtime-metrics.ts'
import { STORAGE_METRICS } from './metrics/storage-metrics.ts'

/** Every metric, declared once: dashboards and alerts are made from this table too. Labels hold no key, user or request. */
export const METRICS = {
  ...GATEWAY_METRICS,
  ...REALTIME_METRICS,
  ...POOL_METRICS,
  ...STORAGE_METRICS,
  ...PROCESS_METRICS,
  ...MONITOR_METRICS,
} as const satisfies Record<string, MetricDeclaration>

export type MetricName = keyof typeof METRICS
type NameOf<Type> = {
  [Name in MetricName]: (typeof METRICS)[Name] extends { readonly type: Type } ? Name : never
}[MetricName]

export type CounterName = NameOf<'counter'>
export type GaugeName = NameOf<'gauge'>
export type HistogramName = NameOf<'histogram'>

/** A value for each label of a metric. */
export type LabelsOf<Name extends MetricName> = {
  readonly [Label in (typeof METRICS)[Name]['labels'][number]]: string
}

/** Where a part says what it does. Cheap enough for every request. */
export interface Metrics {
  add<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, by?: number): void
  set<Name extends GaugeName>(name: Name, labels: LabelsOf<Name>, value: number): void
  /** @param traceId of a request that shows such a value, for scrapers that take exemplars */
  observe<Name extends HistogramName>(
    name: Name,
    labels: LabelsOf<Name>,
    value: number,
    traceId?: string,
  ): void
  /** Forgets the series with these labels: what they told of is gone. */
  drop<Name extends GaugeName | CounterName>(name: Name, labels: Partial<LabelsOf<Name>>): void
  /** Has `collect` set, each time before the metrics are read, what is not worth following all the time. Returns what ends that. */
  beforeRead(collect: () => void): () => void
}

/** For callers that want none, mostly tests. */
export const noMetrics: Metrics = {
  add: () => {},
  set: () => {},
  observe: () => {},
  drop: () => {},
  beforeRead: () => () => {},
}
