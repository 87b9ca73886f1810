import type { Config } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Random } from '../core/random.ts'

export interface TracingParts {
  readonly settings: Config['tracing']
  /** What all spans say of where they come from. */
  readonly service: { readonly role: string; readonly version: string | undefined; readonly instance: string }
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly log: Logger
}
