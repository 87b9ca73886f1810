import { setImmediate as immediately } from 'node:timers/promises'
import {
  type AlertView,
  COMPONENT_KINDS,
  type HealthReport,
  type HistoryQuery,
  type HistorySeries,
  type KpiQuery,
  type KpiReport,
  type MonitorClient,
  type NotificationView,
  type Silence,
  type SilenceRequest,
} from '../contracts/monitor.ts'
import { HelixError } from '../core/errors.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import { Duty, type DutyOptions } from './duty.ts'
import { FIGURES } from './figures.ts'
import { HEALTH_CHECKS, judgeHealth } from './health.ts'
import { type HistoryReaderOptions, readFigures } from './history-reader.ts'
import type { FigureValue } from './history-writer.ts'
import { evaluate } from './query/evaluate.ts'
import type { Query } from './query/query.ts'
import { SampleNeeds } from './query/sample-needs.ts'
import { SampleStore } from './query/samples.ts'
import { readTargets } from './read-targets.ts'
import type { Reading, Target } from './target.ts'

/** What is asked of the monitor and done by others. */
export type MonitorDesk = Pick<
  MonitorClient,
  'silence' | 'unsilence' | 'kpis' | 'testReceiver' | 'notifications'
>

export interface MonitorOptions extends DutyOptions {
  readonly targets: readonly Target[]
  readonly intervalMs: number
  /** For questions of people, so that a long one never delays what is written. */
  readonly reading: HistoryReaderOptions['database']
  readonly desk: MonitorDesk
}

/** Of the interval, for reading: what takes longer is judged without. */
const READING_SHARE = 0.8
const READING_MAX_MS = 5_000
/** A monitor that stood still for so many rounds has seen nothing of them. */
const BREAK_ROUNDS = 5
/** Series that ended are asked for no longer than the longest window of a rule. */
const FORGET_AFTER_MS = 6.5 * 3_600_000
const FORGET_EVERY_MS = 300_000

/** Reads every process, judges what they say, remembers it and tells people: one round after the other, never two at once. */
export class Monitor implements MonitorClient, Stoppable {
  private readonly store: SampleStore
  private readonly duty: Duty
  private report: HealthReport | undefined
  private readings: readonly Reading[] = []
  private forgotMs = 0
  /** Since when it reads without a break, and when it read last. */
  private sinceMs = 0
  private readMs = 0
  private cancel = () => {}
  private running: Promise<void> | undefined
  private hasRefused = false
  private stopped = false

  constructor(private readonly options: MonitorOptions) {
    const checks = HEALTH_CHECKS.flatMap(({ query, also = [] }): readonly Query[] => [query, ...also])
    const queries = [...FIGURES.map(({ query }) => query), ...checks, ...options.board.queries]
    this.store = new SampleStore(new SampleNeeds(queries))
    this.duty = new Duty(options)
  }

  /** Whether this one writes and tells; another one does where it stands by. */
  get works(): boolean {
    return this.duty.works
  }

  start(): void {
    this.running = this.round()
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.cancel()
    await this.running
    await this.duty.stop()
  }

  async health(): Promise<HealthReport> {
    // The first round takes a moment.
    if (!this.report) await this.running
    if (this.report) return this.report
    throw new HelixError('monitor_unavailable', 'The monitor has not read anything yet. Try again shortly.')
  }

  history(query: HistoryQuery): Promise<readonly HistorySeries[]> {
    const { reading: database, retention, clock } = this.options
    return readFigures({ database, retention, clock }, query)
  }

  async alerts(): Promise<readonly AlertView[]> {
    return this.views()
  }

  silences(): Promise<readonly Silence[]> {
    return this.options.silences()
  }

  async silence(request: SilenceRequest): Promise<Silence> {
    const silence = await this.options.desk.silence(request)
    await this.duty.readSilences()
    return silence
  }

  async unsilence(id: string): Promise<void> {
    await this.options.desk.unsilence(id)
    await this.duty.readSilences()
  }

  kpis(query: KpiQuery): Promise<KpiReport> {
    return this.options.desk.kpis(query)
  }

  testReceiver(name: string): Promise<void> {
    return this.options.desk.testReceiver(name)
  }

  notifications(limit: number): Promise<readonly NotificationView[]> {
    return this.options.desk.notifications(limit)
  }

  private async round(): Promise<void> {
    const { clock, intervalMs, metrics, log } = this.options
    const began = clock.monotonic()
    try {
      await this.readAndJudge()
    } catch (reason) {
      log.error('round of the monitor failed', { cause: HelixError.from(reason).message })
    }
    const tookMs = clock.monotonic() - began
    metrics.observe('helixflow_monitor_round_seconds', {}, tookMs / 1_000)
    if (this.stopped) return
    this.cancel = clock.schedule(Math.max(0, intervalMs - tookMs), () => {
      this.running = this.round()
    })
  }

  private async readAndJudge(): Promise<void> {
    const { targets, intervalMs, clock, board } = this.options
    this.readings = await readTargets(targets, Math.min(READING_MAX_MS, READING_SHARE * intervalMs))
    const nowMs = clock.now()
    if (nowMs - this.readMs > BREAK_ROUNDS * intervalMs) this.sinceMs = nowMs
    this.readMs = nowMs
    for (const reading of this.readings) await this.take(reading, nowMs)
    this.duty.keep()
    this.judge(nowMs)
    await immediately()
    if (this.duty.works) {
      this.duty.tell(
        await board.judge(this.store, { nowMs, readingSinceMs: this.sinceMs, silences: this.duty.silences }),
      )
      this.duty.record(nowMs, await this.figures(nowMs))
    }
    this.countAlerts()
    if (nowMs - this.forgotMs < FORGET_EVERY_MS) return
    this.forgotMs = nowMs
    this.store.forget(nowMs - FORGET_AFTER_MS)
  }

  private async take(reading: Reading, nowMs: number): Promise<void> {
    const { instance, role, problem, samples } = reading
    if (problem === undefined) this.warnOfRefused(this.store.take({ instance, role }, samples, nowMs))
    else this.store.lose({ instance, role }, nowMs)
    const up = problem === undefined ? 1 : 0
    this.options.metrics.set('helixflow_target_up', { target: instance, role }, up)
    // Requests have their turn between the processes.
    await immediately()
  }

  /** Once: a process with so many series has them in each round. */
  private warnOfRefused(samples: number): void {
    if (samples === 0 || this.hasRefused) return
    this.hasRefused = true
    this.options.log.warn('no room for the metrics of all processes', { dropped: samples })
  }

  private judge(nowMs: number): void {
    const report = judgeHealth({
      targets: this.readings,
      databaseProblem: this.duty.databaseProblem,
      ask: (query) => evaluate(query, this.store, nowMs),
      nowMs,
    })
    if (this.report && this.report.verdict !== report.verdict) {
      const { verdict, reasons } = report
      this.options.log.info('the verdict has changed', { verdict, reasons: reasons.join('; ') })
    }
    this.report = report
    for (const kind of COMPONENT_KINDS) {
      const scores = report.components.filter((one) => one.kind === kind).map(({ health }) => SCORE[health])
      if (scores.length > 0) {
        this.options.metrics.set('helixflow_component_healthy', { kind }, Math.min(...scores))
      }
    }
  }

  private views(): readonly AlertView[] {
    return this.options.board.views(this.duty.silences, this.options.clock.now())
  }

  private countAlerts(): void {
    const { metrics } = this.options
    metrics.drop('helixflow_alerts', {})
    const counts = new Map<string, { alert: string; state: string; count: number }>()
    for (const { alert, state } of this.views()) {
      const known = counts.get(`${alert} ${state}`) ?? { alert, state, count: 0 }
      counts.set(`${alert} ${state}`, { ...known, count: known.count + 1 })
    }
    for (const { count, ...labels } of counts.values()) metrics.set('helixflow_alerts', labels, count)
  }

  /** One figure after the other, with room for requests between. */
  private async figures(nowMs: number): Promise<readonly FigureValue[]> {
    const values: FigureValue[] = []
    for (const { name, query } of FIGURES) {
      for (const { labels, value } of evaluate(query, this.store, nowMs)) {
        if (Number.isFinite(value)) values.push({ figure: name, labels, value })
      }
      await immediately()
    }
    return values
  }
}

const SCORE = { healthy: 1, degraded: 0.5, unknown: 0.5, failed: 0 } as const
