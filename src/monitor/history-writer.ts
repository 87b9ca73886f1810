import { RESOLUTIONS, type Resolution } from '../contracts/monitor.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Database } from '../storage/database.ts'
import {
  dropEmptySeries,
  dropPoints,
  HISTORY_BATCH,
  insertPoints,
  newestPoint,
  oldestPoint,
  rollUp,
  type SeriesKey,
  type StoredPoint,
  seriesIds,
} from '../storage/history.ts'
import { beginningOf, RESOLUTION_MS, type Retention, type RollUpState, spansToRollUp } from './resolutions.ts'

export interface HistoryWriterOptions {
  readonly database: Database
  readonly retention: Retention
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Logger
}

/** What a figure said at a moment. */
export interface FigureValue extends SeriesKey {
  readonly value: number
}

interface Round {
  readonly atMs: number
  readonly values: readonly FigureValue[]
}

/** While the database is away: an hour of rounds, and no more memory than a few tens of megabytes. */
const ROUNDS_MAX = 360
const VALUES_MAX = 200_000
/** Of one round. Processes export no more of what figures are made of, unless somebody makes models by the thousand. */
const SERIES_MAX = 5_000

const SECONDS = 1_000
const COARSER = { '10s': '1m', '1m': '1h' } as const
const RETENTION_EVERY_MS = 3_600_000

/**
 * Writes the history: points of 10 seconds as they come, coarser ones when their span is over, and drops what is older than
 * it is to be kept. All of it may be done again, by this process or by another one, without any harm.
 */
export class HistoryWriter {
  private rounds: Round[] = []
  private waiting = 0
  private ids = new Map<string, number>()
  private readonly rolledTo = new Map<Resolution, number>()
  private droppedAtMs: number | undefined

  constructor(private readonly options: HistoryWriterOptions) {}

  /** Takes a round, which the next `flush` writes; the oldest go where there are too many. */
  take(atMs: number, values: readonly FigureValue[]): void {
    this.rounds.push({ atMs: beginningOf(atMs, RESOLUTION_MS['10s']), values: values.slice(0, SERIES_MAX) })
    this.waiting += Math.min(values.length, SERIES_MAX)
    let lost = 0
    while (this.rounds.length > ROUNDS_MAX || this.waiting > VALUES_MAX) {
      this.waiting -= this.rounds.shift()?.values.length ?? 0
      lost++
    }
    if (lost > 0) this.options.log.warn('history lost, for the database takes none', { rounds: lost })
  }

  /** Forgets what another one may have changed meanwhile, and rounds of before: they were that one's to write. */
  begin(): void {
    this.rounds = []
    this.waiting = 0
    this.ids.clear()
    this.rolledTo.clear()
    this.droppedAtMs = undefined
  }

  /** Writes what waits, and does what is due. @throws HelixError `storage_unavailable`; what waits goes on waiting */
  async flush(): Promise<void> {
    try {
      const writtenMs = await this.writeRounds()
      await this.rollUp('10s', '1m', writtenMs)
      await this.rollUp('1m', '1h', writtenMs)
      await this.dropOld()
    } catch (reason) {
      this.options.metrics.add('helixflow_history_failures_total', {})
      throw reason
    }
  }

  /** Where the oldest of the points begins that were written. */
  private async writeRounds(): Promise<number | undefined> {
    let writtenMs: number | undefined
    for (;;) {
      const batch = this.nextBatch()
      const [oldest] = batch
      if (!oldest) return writtenMs
      const points = await this.pointsOf(batch)
      const count = await insertPoints(this.options.database, RESOLUTION_MS['10s'] / SECONDS, points)
      this.options.metrics.add('helixflow_history_points_total', { resolution: '10s' }, count)
      // Rounds may have been lost meanwhile, and these among them.
      this.rounds = this.rounds.filter((round) => !batch.includes(round))
      this.waiting = this.rounds.reduce((sum, { values }) => sum + values.length, 0)
      writtenMs ??= oldest.atMs
    }
  }

  /** At least one round, and as many as one statement takes. */
  private nextBatch(): readonly Round[] {
    let count = 0
    const end = this.rounds.findIndex(({ values }, place) => {
      count += values.length
      return place > 0 && count > HISTORY_BATCH
    })
    return end < 0 ? [...this.rounds] : this.rounds.slice(0, end)
  }

  private async pointsOf(batch: readonly Round[]): Promise<readonly StoredPoint[]> {
    const all = batch.flatMap(({ atMs, values }) => values.map((one) => ({ atMs, key: keyOf(one), one })))
    const unknown = new Map(all.filter(({ key }) => !this.ids.has(key)).map(({ key, one }) => [key, one]))
    if (unknown.size > 0) {
      const made = await seriesIds(this.options.database, [...unknown.values()])
      for (const [place, key] of [...unknown.keys()].entries()) this.ids.set(key, made[place] ?? 0)
    }
    return all.map(({ atMs, key, one }) => ({ atMs, seriesId: this.ids.get(key) ?? 0, value: one.value }))
  }

  private async rollUp(fine: Resolution, coarse: Resolution, writtenMs: number | undefined): Promise<void> {
    const { database, clock, metrics } = this.options
    const stepMs = RESOLUTION_MS[coarse]
    const nowMs = clock.now()
    const endMs = beginningOf(nowMs, stepMs)
    if (this.rolledTo.get(coarse) === endMs && (writtenMs ?? endMs) >= endMs) return
    const state: RollUpState = {
      ...{ stepMs, writtenMs, nowMs },
      newestMs: await newestPoint(database, stepMs / SECONDS),
      oldestFineMs: await oldestPoint(database, RESOLUTION_MS[fine] / SECONDS),
    }
    const seconds = { fineSeconds: RESOLUTION_MS[fine] / SECONDS, coarseSeconds: stepMs / SECONDS }
    for (const span of spansToRollUp(state)) {
      const count = await rollUp(database, { ...seconds, ...span })
      metrics.add('helixflow_history_points_total', { resolution: coarse }, count)
    }
    this.rolledTo.set(coarse, endMs)
  }

  private async dropOld(): Promise<void> {
    const { database, clock, retention } = this.options
    const nowMs = clock.now()
    if (this.droppedAtMs !== undefined && nowMs - this.droppedAtMs < RETENTION_EVERY_MS) return
    for (const resolution of RESOLUTIONS) {
      // Fine points stay until the coarse one is made of all of them, however short they are to be kept.
      const rolledMs = resolution === '1h' ? nowMs : beginningOf(nowMs, RESOLUTION_MS[COARSER[resolution]])
      const beforeMs = Math.min(nowMs - retention[resolution], rolledMs)
      while ((await dropPoints(database, RESOLUTION_MS[resolution] / SECONDS, beforeMs)) === HISTORY_BATCH);
    }
    await dropEmptySeries(database, [...this.ids.values()])
    // Series that come again are found again; those that went must not be remembered for ever.
    this.ids = new Map()
    this.droppedAtMs = nowMs
  }
}

function keyOf({ figure, labels }: SeriesKey): string {
  const sorted = Object.entries(labels).sort(([one], [other]) => (one < other ? -1 : 1))
  return JSON.stringify([figure, sorted])
}
