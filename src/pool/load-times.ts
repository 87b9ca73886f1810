import type { ModelFile } from '../contracts/node.ts'

/** Expected times to load a model's file. */
export interface LoadTimes {
  readonly loadMs: number
  readonly cachedLoadMs: number
}

/** A process that starts, and the first allocation. */
const START_MS = 700
/** A usual NVMe disk, and what memory gives; the first load of each model corrects it. */
const DISK_BYTES_PER_MS = 1e6
const CACHE_BYTES_PER_MS = 5e6
/** How much the newest load counts. */
const NEWEST = 0.5

/** What loading takes, by model: reckoned from the size of the file until it has been seen. */
export class LoadTimesSeen {
  private readonly seen = new Map<string, Partial<LoadTimes>>()

  of({ name, sizeBytes }: Pick<ModelFile, 'name' | 'sizeBytes'>): LoadTimes {
    const seen = this.seen.get(name)
    const cachedLoadMs = seen?.cachedLoadMs ?? START_MS + Math.round(sizeBytes / CACHE_BYTES_PER_MS)
    const loadMs = seen?.loadMs ?? START_MS + Math.round(sizeBytes / DISK_BYTES_PER_MS)
    return { cachedLoadMs: Math.min(cachedLoadMs, loadMs), loadMs: Math.max(cachedLoadMs, loadMs) }
  }

  /** @param cached whether the file lay in the page cache when the load began */
  loaded(model: string, tookMs: number, cached: boolean): void {
    const seen = this.seen.get(model) ?? {}
    const kind = cached ? 'cachedLoadMs' : 'loadMs'
    const before = seen[kind] ?? tookMs
    this.seen.set(model, { ...seen, [kind]: Math.round(NEWEST * tookMs + (1 - NEWEST) * before) })
  }
}
