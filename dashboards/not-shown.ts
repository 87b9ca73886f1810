import type { MetricName } from '../src/core/metrics.ts'

/** Metrics that are on no panel, each with the reason. */
export const NOT_SHOWN: { readonly [Name in MetricName]?: string } = {}
