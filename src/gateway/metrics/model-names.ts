import type { PoolClient } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'

export interface ModelNamesParts {
  readonly pool: Pick<PoolClient, 'listModels' | 'watchReplicas'>
  readonly clock: Clock
}

const UNKNOWN = 'unknown'
/** The pool is asked no more often, however many names callers make up. */
const ASK_MS = 10_000

/** The names of models that may stand in a label: those that the pool knows. Callers can send any. */
export class ModelNames {
  private loaded = new Set<string>()
  private listed = new Set<string>()
  private askedMs = Number.NEGATIVE_INFINITY
  private readonly unwatch: () => void

  constructor(private readonly parts: ModelNamesParts) {
    this.unwatch = parts.pool.watchReplicas((replicas) => {
      this.loaded = new Set(replicas.map(({ model }) => model))
    })
    this.ask()
  }

  /** Empty where none was asked for. */
  label(model: string | undefined): string {
    if (model === undefined) return ''
    if (this.loaded.has(model) || this.listed.has(model)) return model
    // It may be new; the next request for it has its name.
    if (this.parts.clock.monotonic() - this.askedMs >= ASK_MS) this.ask()
    return UNKNOWN
  }

  stop(): void {
    this.unwatch()
  }

  private ask(): void {
    this.askedMs = this.parts.clock.monotonic()
    this.parts.pool.listModels().then(
      (models) => {
        this.listed = new Set(models.map(({ name }) => name))
      },
      // Those of before are still true.
      () => {},
    )
  }
}
