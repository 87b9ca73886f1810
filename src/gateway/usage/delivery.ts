import type { UsageRecord, UsageSink } from '../../contracts/usage.ts'
import { type Clock, delay } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Spool } from './spool.ts'
import { SILENCE_MAX_MS } from './spool-owner.ts'

export interface DeliveryOptions {
  readonly spool: Spool
  readonly sink: UsageSink
  readonly clock: Clock
  readonly log: Logger
}

/** Records wait so long for others to come with them: a statement and a commit for many cost little for each. */
const GATHER_MS = 500
/** Some hundred records: enough to share a commit, few enough that reading them does not hold up the streams. */
const BATCH_BYTES = 256 * 1024
const RETRY_MIN_MS = 250
const RETRY_MAX_MS = 2_000
const LIFE_SIGN_MS = SILENCE_MAX_MS / 10
const STOP_WAIT_MS = 3_000

/** Carries records from the spool to where they are kept, again and again until they are. */
export class UsageDelivery {
  private pending: (() => void) | undefined
  private running: Promise<void> | undefined
  private cancelLifeSign = () => {}
  private readonly stopping = new AbortController()
  private failingSinceMs: number | undefined

  constructor(private readonly options: DeliveryOptions) {
    this.lifeSign()
  }

  /** To be called when there is something in the spool. */
  notify(): void {
    if (this.pending || this.running || this.stopping.signal.aborted) return
    this.pending = this.options.clock.schedule(GATHER_MS, () => {
      this.pending = undefined
      this.running = this.deliverAll().finally(() => {
        this.running = undefined
        if (this.options.spool.undeliveredBytes > 0) this.notify()
      })
    })
  }

  /** Delivers what is there, unless that fails or takes long: what is left waits for the next start. */
  async stop(): Promise<void> {
    this.cancelLifeSign()
    this.pending?.()
    this.stopping.abort()
    const { spool, clock, log } = this.options
    const done = (this.running ?? Promise.resolve()).then(() => this.deliverAll())
    const waited = new AbortController()
    await Promise.race([done, delay(clock, STOP_WAIT_MS, waited.signal).catch(() => {})])
    waited.abort()
    if (spool.undeliveredBytes > 0)
      log.warn('usage records left for the next start', { bytes: spool.undeliveredBytes })
    spool.close()
  }

  private lifeSign(): void {
    const { spool, clock, log } = this.options
    try {
      spool.adopt()
    } catch (reason) {
      log.warn('usage spool cannot be looked after', { cause: String(reason) })
    }
    if (spool.undeliveredBytes > 0) this.notify()
    this.cancelLifeSign = clock.schedule(LIFE_SIGN_MS, () => this.lifeSign())
  }

  /** Until the spool is empty. While it stops, one failure is enough. */
  private async deliverAll(): Promise<void> {
    const { spool, clock } = this.options
    for (let waitMs = RETRY_MIN_MS; ; waitMs = Math.min(RETRY_MAX_MS, 2 * waitMs)) {
      try {
        for (let batch = await spool.next(BATCH_BYTES); batch; batch = await spool.next(BATCH_BYTES)) {
          await this.deliver(batch.records)
          batch.delivered()
          waitMs = RETRY_MIN_MS
          this.succeeded()
        }
        return
      } catch (reason) {
        this.failed(HelixError.from(reason))
      }
      if (this.stopping.signal.aborted) return
      await delay(clock, waitMs, this.stopping.signal).catch(() => {})
    }
  }

  /** One that can never be kept must not keep back the others: it is searched for by halves, and goes to the log. */
  private async deliver(records: readonly UsageRecord[]): Promise<void> {
    const { sink, log } = this.options
    try {
      await sink.record(records)
    } catch (reason) {
      const error = HelixError.from(reason)
      if (error.code !== 'invalid_value') throw error
      if (records.length === 1) {
        log.error('usage record refused', { record: records[0], cause: error.message })
        return
      }
      const half = Math.ceil(records.length / 2)
      await this.deliver(records.slice(0, half))
      await this.deliver(records.slice(half))
    }
  }

  private failed(error: HelixError): void {
    if (this.failingSinceMs !== undefined) return
    this.failingSinceMs = this.options.clock.monotonic()
    this.options.log.warn('usage records wait in the spool', { code: error.code, cause: error.message })
  }

  private succeeded(): void {
    if (this.failingSinceMs === undefined) return
    const { clock, log } = this.options
    const waitedMs = Math.round(clock.monotonic() - this.failingSinceMs)
    this.failingSinceMs = undefined
    log.info('usage records are delivered again', { waitedMs })
  }
}
