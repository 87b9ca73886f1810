import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { ModelSpec } from '../scheduler/state.ts'
import type { Catalogue, CatalogueEntry } from './catalogue.ts'
import type { PoolController } from './controller.ts'
import type { ModelRules } from './model-rules.ts'
import type { NodeDirectory } from './node-directory.ts'

export interface SurveyParts {
  readonly nodes: NodeDirectory
  readonly catalogue: Catalogue
  readonly rules: ModelRules
  readonly controller: PoolController
  readonly clock: Clock
  readonly log: Logger
}

const EVERY_MS = 10_000

/**
 * Tells the scheduler now and then what models there are: those that were asked for once, and those that must be loaded
 * although nobody asks. Of others nothing is expected, and estimating them would need an engine that nobody needs yet.
 */
export class Survey {
  private cancel: () => void = () => {}
  private stopped = false
  /** Why models could not be reckoned when it was tried last: the same is not logged every time. */
  private readonly troubles = new Map<string, string>()

  constructor(private readonly parts: SurveyParts) {}

  start(): void {
    void this.look()
  }

  stop(): void {
    this.stopped = true
    this.cancel()
  }

  private async look(): Promise<void> {
    try {
      await this.tell()
    } catch (cause) {
      this.parts.log.warn('models could not be surveyed', { cause: String(cause) })
    }
    if (!this.stopped) this.cancel = this.parts.clock.schedule(EVERY_MS, () => void this.look())
  }

  private async tell(): Promise<void> {
    const { catalogue, rules, controller } = this.parts
    const entries = await catalogue.list()
    const asked = new Set([...Object.keys(controller.state.models), ...rules.owed])
    const specs: ModelSpec[] = []
    for (const entry of entries) {
      const { file } = entry
      if (!asked.has(file.name) || file.invalidBecause || file.quarantinedBecause) continue
      controller.effects.setShape(file.name, catalogue.shapeOf(file))
      const spec = await this.reckon(entry)
      if (spec) specs.push(spec)
    }
    if (this.stopped) return
    for (const { nodeId } of this.parts.nodes.all()) {
      const models = entries.filter(({ cachedOn }) => cachedOn.includes(nodeId)).map(({ file }) => file.name)
      controller.post({ kind: 'files-cached', nodeId, models })
    }
    if (specs.length > 0) controller.post({ kind: 'models-known', specs })
  }

  /** As it was known before where it cannot be reckoned now: its trouble is not that of others. */
  private async reckon(entry: CatalogueEntry): Promise<ModelSpec | undefined> {
    const { name } = entry.file
    try {
      const spec = await this.parts.catalogue.specOf(entry)
      this.troubles.delete(name)
      return spec
    } catch (reason) {
      const cause = String(reason)
      if (this.troubles.get(name) !== cause)
        this.parts.log.warn('model could not be reckoned', { model: name, cause })
      this.troubles.set(name, cause)
      return this.parts.controller.state.models[name]?.spec
    }
  }
}
