import { MONEY_UNIT } from '../../contracts/limits.ts'
import type { Metrics } from '../../core/metrics.ts'

const NAMED_MAX = 50
/** Sums that are kept to see who should be named; beyond it the least are forgotten. */
const KEPT_MAX = 5_000
const OTHER = 'other'

/**
 * What generations cost, by project: those with the greatest sums by name, the others together. Who comes to be named
 * begins at 0, for what was counted among the others stays there: no counter ever goes down, and their sum is right.
 */
export class ProjectCosts {
  private readonly sums = new Map<string, number>()
  private named: ReadonlySet<string> = new Set()

  constructor(private readonly metrics: Metrics) {
    metrics.beforeRead(() => this.choose())
  }

  /** @param cost in billionths */
  add(project: string, cost: number): void {
    if (cost === 0) return
    this.sums.set(project, (this.sums.get(project) ?? 0) + cost)
    if (!this.named.has(project) && this.named.size < NAMED_MAX)
      this.named = new Set([...this.named, project])
    const label = this.named.has(project) ? project : OTHER
    this.metrics.add('helixflow_cost_total', { project: label }, cost / MONEY_UNIT)
    if (this.sums.size > 2 * KEPT_MAX) this.choose()
  }

  private choose(): void {
    if (this.sums.size <= NAMED_MAX) return
    const greatest = [...this.sums].sort(([, a], [, b]) => b - a)
    for (const [project] of greatest.splice(KEPT_MAX)) this.sums.delete(project)
    const named = new Set(greatest.slice(0, NAMED_MAX).map(([project]) => project))
    for (const project of this.named)
      if (!named.has(project)) this.metrics.drop('helixflow_cost_total', { project })
    this.named = named
  }
}
