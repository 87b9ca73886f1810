import type { ModelDemand, PoolClient } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'

export interface DemandReportOptions {
  readonly pool: Pick<PoolClient, 'reportDemand'>
  readonly clock: Clock
  /** What every model was asked for since this was called last. */
  count(): readonly ModelDemand[]
}

const EVERY_MS = 1_000

/** Tells the pool once a second what is asked of models, as long as there is anything to tell. */
export class DemandReport {
  private cancel: (() => void) | undefined
  /** Models whose end has yet to be told. */
  private busy: ReadonlySet<string> = new Set()

  constructor(private readonly options: DemandReportOptions) {}

  /** Something was asked for. */
  wake(): void {
    this.cancel ??= this.options.clock.schedule(EVERY_MS, () => this.tell())
  }

  stop(): void {
    this.cancel?.()
  }

  private tell(): void {
    this.cancel = undefined
    const counted = this.options.count()
    const busy = counted.filter(
      ({ arrivals, inFlight, queued }) => arrivals > 0 || inFlight > 0 || queued > 0,
    )
    const names = new Set(busy.map(({ model }) => model))
    const ended = [...this.busy].filter((model) => !names.has(model))
    this.busy = names
    const demand = [...busy, ...ended.map((model) => ({ model, arrivals: 0, inFlight: 0, queued: 0 }))]
    if (demand.length > 0) this.options.pool.reportDemand(demand)
    if (busy.length > 0) this.wake()
  }
}
