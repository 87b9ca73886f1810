import type { Silence } from '../contracts/monitor.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Database } from '../storage/database.ts'
import { holdSeat, leaveSeat, readState, saveState } from '../storage/monitor-states.ts'
import type { AlertBoard } from './alert-board.ts'
import type { Notification } from './alerts/notification.ts'
import { type FigureValue, HistoryWriter } from './history-writer.ts'
import type { Retention } from './resolutions.ts'

/** Tells people; there is one for as long as this monitor is the one that does. */
export interface Teller {
  send(notification: Notification): Promise<void>
  stop(): Promise<void>
}

export interface DutyOptions {
  readonly database: Database
  /** This process, unlike every other. */
  readonly holder: string
  /** Another one begins when this one has not said for so long that it is there. */
  readonly leaseMs: number
  readonly retention: Retention
  readonly board: AlertBoard
  readonly silences: () => Promise<readonly Silence[]>
  readonly openTeller: () => Teller
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Logger
}

const BOARD = 'alerts'

/**
 * What only one of several monitors on a database does: it writes the history, judges the alerts and tells people. The
 * others stand by, and know from the database what pends and fires. While the database is away, whoever had the duty last
 * keeps it: that it is away is what people must be told.
 */
export class Duty {
  private readonly history: HistoryWriter
  private teller: Teller | undefined
  private known: readonly Silence[] = []
  private saved = ''
  private keeping: Promise<void> | undefined
  private whatIsWrong: string | undefined

  constructor(private readonly options: DutyOptions) {
    this.history = new HistoryWriter(options)
  }

  /** Whether this monitor is the one that works. */
  get works(): boolean {
    return this.teller !== undefined
  }

  /** Why the database did not do what was asked of it last; undefined where it did. */
  get databaseProblem(): string | undefined {
    return this.whatIsWrong
  }

  get silences(): readonly Silence[] {
    return this.known
  }

  record(atMs: number, values: readonly FigureValue[]): void {
    if (this.works) this.history.take(atMs, values)
  }

  tell(notifications: readonly Notification[]): void {
    for (const notification of notifications) {
      // It keeps in memory what it cannot write down; a failure here is a defect, and must not end the process.
      this.teller?.send(notification).catch((reason) => this.warn('notification lost', reason))
    }
  }

  /** Does what is due in the database, and returns at once: it may be slow, or frozen, and rounds must go on. */
  keep(): void {
    this.keeping ??= this.once().finally(() => {
      this.keeping = undefined
    })
  }

  /** Silences were changed here: they hold from the next round. */
  async readSilences(): Promise<void> {
    this.known = await this.options.silences()
  }

  /** Lets another one begin at once. */
  async stop(): Promise<void> {
    await this.keeping
    const { works } = this
    if (works) await this.save().catch((reason) => this.warn('alerts not saved', reason))
    await this.standDown()
    if (!works) return
    const { database, holder } = this.options
    await leaveSeat(database, holder).catch((reason) => this.warn('seat not left', reason))
  }

  private async once(): Promise<void> {
    const { database, holder, leaseMs, board } = this.options
    try {
      const hasSeat = await holdSeat(database, holder, leaseMs)
      if (hasSeat !== this.works) await (hasSeat ? this.begin() : this.standDown())
      await this.readSilences()
      if (hasSeat) {
        await this.save()
        await this.history.flush()
      } else {
        board.restore(await readState(database, BOARD))
      }
      if (this.whatIsWrong !== undefined) this.options.log.info('the database serves the monitor again', {})
      this.whatIsWrong = undefined
    } catch (reason) {
      const error = HelixError.from(reason)
      if (this.whatIsWrong === undefined) this.warn('the database does not serve the monitor', reason)
      this.whatIsWrong =
        error.code === 'storage_unavailable' ? 'it does not answer' : 'it refuses what the monitor asks'
    }
  }

  private async begin(): Promise<void> {
    const { database, board, openTeller, log } = this.options
    board.restore(await readState(database, BOARD))
    this.saved = ''
    this.history.begin()
    this.teller = openTeller()
    log.info('this monitor works', {})
  }

  private async standDown(): Promise<void> {
    const { teller } = this
    this.teller = undefined
    if (!teller) return
    this.options.log.info('this monitor works no more', {})
    await teller.stop()
  }

  private async save(): Promise<void> {
    const { database, holder, board } = this.options
    const state = board.state()
    const text = JSON.stringify(state)
    if (text === this.saved) return
    if (await saveState(database, { name: BOARD, holder, state })) this.saved = text
  }

  private warn(text: string, reason: unknown): void {
    this.options.log.warn(text, { cause: HelixError.from(reason).message })
  }
}
