import type { LeaderView } from '../contracts/pool-service.ts'
import { type Clock, delay } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { PostgresConnection } from '../storage/database.ts'
import { LeaderSeat, type SeatHolder } from '../storage/leader-seat.ts'

export interface LeaderParts {
  readonly connection: PostgresConnection | string
  /** Where this pool is reached. */
  readonly url: string
  /** Begins to lead; `over` aborts at the latest when another one may. Resolves when nothing is done any more. */
  readonly lead: (epoch: number, over: AbortSignal) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
}

const TRY_MS = 500
const RENEW_MS = 1_000
/** A holder that has not renewed for so long has given up by its own clock, or stands still. */
const SILENT_MAX_MS = 3_000

/** Tries to lead for as long as it runs. Between losing the seat and taking it again it does nothing. */
export class Leadership {
  private readonly stopping = new AbortController()
  private present: { readonly epoch: number } | undefined
  private holder: SeatHolder | undefined
  private readonly running: Promise<void>
  private readonly unread: () => void

  constructor(private readonly parts: LeaderParts) {
    const { metrics } = this.parts
    // One that never leads says it too: of what nobody tells, nobody sees that it is missing.
    metrics.set('helixflow_pool_leader', {}, 0)
    this.running = this.run()
    this.unread = metrics.beforeRead(() => metrics.set('helixflow_pool_epoch', {}, this.view().epoch))
  }

  view(): LeaderView {
    if (this.present) return { leads: true, epoch: this.present.epoch, url: this.parts.url }
    return { leads: false, epoch: this.holder?.epoch ?? 0, url: this.holder?.url }
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    this.unread()
    await this.running
  }

  private async run(): Promise<void> {
    const { clock, log } = this.parts
    const { signal } = this.stopping
    while (!signal.aborted) {
      try {
        await this.contend()
      } catch (reason) {
        if (!signal.aborted) log.warn('the seat of the leader is out of reach', { cause: String(reason) })
      }
      // Rejects only when this one stops, which the loop sees.
      await delay(clock, TRY_MS, signal).catch(() => {})
    }
  }

  /** From a new connection to its end. */
  private async contend(): Promise<void> {
    const { clock, log } = this.parts
    const { signal } = this.stopping
    const seat = await LeaderSeat.open(this.parts)
    const end = new AbortController()
    void seat.lost.then(() => end.abort())
    const over = AbortSignal.any([end.signal, signal])
    try {
      while (!over.aborted) {
        const askedMs = clock.monotonic()
        const epoch = await seat.take()
        if (epoch !== undefined) return await this.hold(seat, epoch, { over, askedMs })
        this.holder = await seat.holder()
        if (await seat.throwOff(SILENT_MAX_MS))
          log.warn('a pool that stood still leads no more', { ...this.holder })
        await delay(clock, TRY_MS, over).catch(() => {})
      }
    } finally {
      seat.leave()
    }
  }

  private async hold(
    seat: LeaderSeat,
    epoch: number,
    { over, askedMs }: { readonly over: AbortSignal; readonly askedMs: number },
  ): Promise<void> {
    const { lead, log, url } = this.parts
    const ended = new AbortController()
    const until = AbortSignal.any([over, ended.signal])
    log.info('leading', { epoch, url })
    this.present = { epoch }
    const leading = lead(epoch, until)
    try {
      await Promise.race([leading, this.renew(seat, epoch, { until, askedMs })])
    } finally {
      this.present = undefined
      ended.abort()
      await leading
      log.info('leading no more', { epoch })
    }
  }

  /** Returns when the seat may be somebody else's, by the same measure as the others have: from before each question. */
  private async renew(
    seat: LeaderSeat,
    epoch: number,
    { until, askedMs }: { readonly until: AbortSignal; readonly askedMs: number },
  ): Promise<void> {
    const { clock, log } = this.parts
    let lease = leaseOf(clock, askedMs)
    try {
      while (!until.aborted && !lease.signal.aborted) {
        const either = AbortSignal.any([until, lease.signal])
        await delay(clock, RENEW_MS, either).catch(() => {})
        // One that stood still finds here that its time is over, before it does anything else.
        const asked = clock.monotonic()
        if (either.aborted || asked >= lease.untilMs) return
        // An answer that takes too long is not waited for.
        const renewing = seat.renew(epoch).catch((reason) => {
          log.warn('the seat of the leader was not renewed', { cause: String(reason) })
          return undefined
        })
        const isRenewed = await Promise.race([renewing, aborted(either)])
        if (isRenewed === false || either.aborted) return
        if (!isRenewed) continue
        lease.cancel()
        lease = leaseOf(clock, asked)
      }
    } finally {
      lease.cancel()
    }
  }
}

/** Aborts when others may think that the seat is free. */
function leaseOf(clock: Clock, sinceMs: number) {
  const over = new AbortController()
  const untilMs = sinceMs + SILENT_MAX_MS
  const cancel = clock.schedule(Math.max(0, untilMs - clock.monotonic()), () => over.abort())
  return { untilMs, signal: over.signal, cancel }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
}
