import type { PoolClient } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { Drain } from '../drain.ts'
import type { UsageMeter } from '../usage/meter.ts'
import { CredentialAttempts } from './credential-attempts.ts'
import { GenerationMetrics } from './generation-metrics.ts'
import { ModelNames } from './model-names.ts'
import { RequestMetrics } from './request-metrics.ts'

export interface CountingParts {
  readonly metrics: Metrics
  readonly pool: Pick<PoolClient, 'listModels' | 'watchReplicas'>
  readonly clock: Clock
}

/** Who counts what at a gateway. */
export interface Counting {
  readonly attempts: CredentialAttempts
  readonly requests: RequestMetrics
  readonly counts: GenerationMetrics
  /** From now on these are asked whenever somebody reads. */
  watch(parts: {
    readonly drain: Pick<Drain, 'draining'>
    readonly meter: Pick<UsageMeter, 'undeliveredBytes' | 'problem'>
  }): void
  stop(): void
}

export function startCounting({ metrics, pool, clock }: CountingParts): Counting {
  const models = new ModelNames({ pool, clock })
  let unread = () => {}
  return {
    attempts: new CredentialAttempts(metrics),
    requests: new RequestMetrics(metrics, models),
    counts: new GenerationMetrics({ metrics, models, clock }),
    watch: ({ drain, meter }) => {
      unread = metrics.beforeRead(() => {
        metrics.set('helixflow_gateway_draining', {}, drain.draining ? 1 : 0)
        metrics.set('helixflow_usage_spool_bytes', {}, meter.undeliveredBytes)
        metrics.set('helixflow_usage_spool_full', {}, meter.problem() ? 1 : 0)
      })
    },
    stop: () => {
      unread()
      models.stop()
    },
  }
}
