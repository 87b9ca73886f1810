import type { MetricDeclaration } from '../core/metrics/declaration.ts'
import type { Sample } from '../core/metrics/sample.ts'
import { type Labels, Series } from './series.ts'
import type { SeriesRoom } from './series-room.ts'
import { escapedText, type TextFormat } from './text-format.ts'

/** Sets of labels that one metric may have. */
export const SETS_MAX = 500
/** Stands in every label of the series that counts for all those that have no room. */
const OTHER = 'other'
/** In one piece of text: written in well under a millisecond. */
const PIECE_LINES = 500

/** The values of one label, each with those of the next; at the end of the way lies the series. */
interface Branch {
  next: Map<string, Branch> | undefined
  series: Series | undefined
}

/** One metric with all of its series. */
export class Family {
  private readonly root: Branch = { next: undefined, series: undefined }
  private readonly all = new Set<Series>()
  private readonly linesEach: number
  private readonly labelsOfOther: Labels

  constructor(
    private readonly name: string,
    private readonly declaration: MetricDeclaration,
    private readonly room: SeriesRoom,
  ) {
    const { labels, buckets } = declaration
    this.linesEach = buckets ? buckets.length + 3 : 1
    this.labelsOfOther = Object.fromEntries(labels.map((label) => [label, OTHER]))
    // What counts without labels is there from the start: where nothing happened yet, that is told too. A gauge is not: 0
    // would say that Redis is down where there is none.
    if (labels.length === 0 && declaration.type !== 'gauge') this.series({})
  }

  /** Series as Prometheus counts them. */
  get lines(): number {
    return this.all.size * this.linesEach
  }

  /** The series with these labels, which begins to be when it is first asked for; undefined where there is no room. */
  series(labels: Labels): Series | undefined {
    let branch: Branch | undefined = this.root
    // No key is put together of them: looking each up in turn takes half the time, and leaves nothing to be collected.
    for (const label of this.declaration.labels) {
      branch = branch.next?.get(labels[label] ?? '')
      if (branch === undefined) break
    }
    return branch?.series ?? this.begin(labels)
  }

  /**
   * The one that counts for all others. Of gauges there is none: what many of them are, one after another, says nothing.
   */
  overflow(): Series | undefined {
    return this.declaration.type === 'gauge' ? undefined : this.grow(this.labelsOfOther)
  }

  drop(labels: Labels): void {
    for (const series of this.all) {
      if (!series.has(labels)) continue
      this.all.delete(series)
      this.room.giveBack(this.linesEach)
      this.forget(this.root, Object.values(series.labels))
    }
  }

  *text(format: TextFormat): Generator<string> {
    const { type, help } = this.declaration
    const named =
      format === 'openmetrics' && type === 'counter' ? this.name.replace(/_total$/, '') : this.name
    const said = format === 'openmetrics' ? escapedText(help) : help
    let piece = `# HELP ${named} ${said}\n# TYPE ${named} ${type}\n`
    let lines = 0
    for (const series of this.all) {
      piece += series.text(format)
      lines += this.linesEach
      if (lines < PIECE_LINES) continue
      yield piece
      piece = ''
      lines = 0
    }
    yield piece
  }

  *samples(): Generator<Sample> {
    for (const series of this.all) yield* series.samples()
  }

  private begin(labels: Labels): Series | undefined {
    const hasRoom = this.all.size < SETS_MAX && this.room.take(this.linesEach)
    return hasRoom ? this.grow(labels) : undefined
  }

  private grow(labels: Labels): Series {
    const own: Record<string, string> = {}
    let branch = this.root
    for (const label of this.declaration.labels) {
      const value = labels[label] ?? ''
      own[label] = value
      branch.next ??= new Map()
      const next = branch.next.get(value) ?? { next: undefined, series: undefined }
      branch.next.set(value, next)
      branch = next
    }
    branch.series ??= new Series(this.name, own, this.declaration.buckets)
    this.all.add(branch.series)
    return branch.series
  }

  /** Branches that lead nowhere go too, else names that come and go would stay. */
  private forget(branch: Branch, [value, ...rest]: readonly string[]): void {
    if (value === undefined) {
      branch.series = undefined
      return
    }
    const next = branch.next?.get(value)
    if (!next) return
    this.forget(next, rest)
    if (next.series === undefined && !next.next?.size) branch.next?.delete(value)
  }
}
