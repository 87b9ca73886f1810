import type { Identity } from '../../contracts/auth.ts'
import type { Clock } from '../../core/clock.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { ModelNames } from './model-names.ts'
import { ProjectCosts } from './project-costs.ts'

export interface SettledGeneration {
  readonly identity: Pick<Identity, 'projectId'>
  readonly model: string
  /** When it arrived, on the monotonic clock. */
  readonly startedMs: number
  readonly traceId: string | undefined
  readonly settlement: Settlement
  /** In billionths. */
  readonly cost: number
}

export interface GenerationMetricsParts {
  readonly metrics: Metrics
  readonly models: Pick<ModelNames, 'label'>
  readonly clock: Clock
}

/** Counts what generations used and how fast they came: of everything that is recorded, as it is recorded. */
export class GenerationMetrics {
  private readonly costs: ProjectCosts

  constructor(private readonly parts: GenerationMetricsParts) {
    this.costs = new ProjectCosts(parts.metrics)
  }

  /** To be called when it is settled: the last token has come by then. */
  settled(one: SettledGeneration): void {
    this.used(one)
    const { metrics, models, clock } = this.parts
    const { startedMs, traceId } = one
    const { firstTokenMs, usage } = one.settlement
    if (firstTokenMs === undefined) return
    const model = models.label(one.model)
    const waitedSeconds = (firstTokenMs - startedMs) / 1_000
    metrics.observe('helixflow_time_to_first_token_seconds', { model }, waitedSeconds, traceId)
    if (usage.completionTokens < 2) return
    const eachSeconds = (clock.monotonic() - firstTokenMs) / 1_000 / (usage.completionTokens - 1)
    metrics.observe('helixflow_time_per_output_token_seconds', { model }, eachSeconds, traceId)
  }

  /** Of an answer that nobody waits for. */
  used({ identity, model, settlement, cost }: Omit<SettledGeneration, 'startedMs' | 'traceId'>): void {
    const { promptTokens, completionTokens, cachedTokens } = settlement.usage
    const label = this.parts.models.label(model)
    this.count(label, 'prompt', promptTokens)
    this.count(label, 'cached', cachedTokens)
    this.count(label, 'completion', completionTokens)
    this.costs.add(identity.projectId, cost)
  }

  private count(model: string, direction: string, tokens: number): void {
    if (tokens > 0) this.parts.metrics.add('helixflow_tokens_total', { model, direction }, tokens)
  }
}
