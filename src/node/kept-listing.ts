import type { Clock } from '../core/clock.ts'

/** A folder that can be listed, and says when something was last added to it, taken out or renamed. */
export interface ListedFolder<Item> {
  list(): Promise<readonly Item[]>
  changedAtMs(): Promise<number>
}

/** A file that is written over in its place changes nothing that the folder tells: it is seen so much later. */
const KEPT_MS = 1_000
/** Some systems tell times in steps of ten milliseconds: two changes within one cannot be told apart. */
const STEP_MS = 20

/**
 * What lies in a folder, kept for a second unless the folder changes. Requests for a model that is not loaded, or that
 * there is none of, ask for it each: listing 30 models takes some 10 ms of processor time, asking for the time of the
 * folder a tenth of one.
 */
export class KeptListing<Item> {
  private latest: Reading<Item> | undefined

  constructor(
    private readonly folder: ListedFolder<Item>,
    private readonly clock: Clock,
  ) {}

  async items(): Promise<readonly Item[]> {
    // Asked first: what changes while the folder is read shows at the next question.
    const changedAtMs = await this.folder.changedAtMs()
    const atMs = this.clock.monotonic()
    const { latest } = this
    if (latest?.changedAtMs === changedAtMs && atMs - latest.atMs < KEPT_MS) return latest.items
    const items = this.folder.list()
    const reading = { changedAtMs, atMs, items }
    const isSettled = Math.abs(this.clock.now() - changedAtMs) > STEP_MS
    this.latest = isSettled ? reading : undefined
    items.catch(() => {
      if (this.latest === reading) this.latest = undefined
    })
    return items
  }

  /** It was changed from here. */
  forget(): void {
    this.latest = undefined
  }
}

interface Reading<Item> {
  readonly changedAtMs: number
  readonly atMs: number
  readonly items: Promise<readonly Item[]>
}
