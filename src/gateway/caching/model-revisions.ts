import type { PoolClient } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'

interface Known {
  readonly revision: string
  readonly untilMs: number
}

/** How long what the pool said of a model that is not loaded is taken for true. */
const TRUSTED_MS = 1_000

/**
 * What answers are made of, by model. Of a model that is loaded the table of replicas says it, which costs nothing; of
 * another one the pool is asked, once a second at most.
 */
export class ModelRevisions {
  private loaded = new Map<string, string>()
  private readonly known = new Map<string, Known>()
  private readonly asking = new Map<string, Promise<string>>()
  private readonly unwatch: () => void

  constructor(
    private readonly pool: Pick<PoolClient, 'revision' | 'watchReplicas'>,
    private readonly clock: Clock,
  ) {
    this.unwatch = pool.watchReplicas((replicas) => {
      this.loaded = new Map(replicas.map(({ model, revision }) => [model, revision]))
      this.known.clear()
    })
  }

  /** @throws HelixError `model_not_found` */
  of(model: string): string | Promise<string> {
    const loaded = this.loaded.get(model)
    if (loaded !== undefined) return loaded
    const known = this.known.get(model)
    if (known && known.untilMs > this.clock.monotonic()) return known.revision
    return this.asking.get(model) ?? this.ask(model)
  }

  stop(): void {
    this.unwatch()
  }

  private ask(model: string): Promise<string> {
    const asking = this.pool
      .revision(model)
      .then((revision) => {
        this.known.set(model, { revision, untilMs: this.clock.monotonic() + TRUSTED_MS })
        return revision
      })
      .finally(() => this.asking.delete(model))
    this.asking.set(model, asking)
    return asking
  }
}
