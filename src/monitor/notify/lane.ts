import type { NotificationOutcome } from '../../contracts/monitor.ts'
import type { Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import type { Delivery } from './delivery.ts'
import { backoffMs, type ReceiverAnswer } from './receiver-answer.ts'

export interface LaneOptions {
  readonly clock: Clock
  readonly random: Random
  /** One attempt. */
  tell(delivery: Delivery, signal: AbortSignal): Promise<ReceiverAnswer>
  /** It is over for this one. */
  ended(delivery: Delivery, outcome: NotificationOutcome, reason: string | undefined): void
  /** It failed, and is tried again. */
  postponed(delivery: Delivery, reason: string): void
}

/** An attempt that takes longer is given up. */
export const ATTEMPT_TIMEOUT_MS = 10_000
/** What could not be delivered for so long helps nobody any more. */
export const GIVE_UP_AFTER_MS = 24 * 3_600_000
/** So many are held in memory; who waits longer than these is read from the database again. */
export const HELD_MAX = 1_000

/**
 * The way to one receiver: one at a time, so that a slow one gets no second before it has answered the first, and within a
 * group in the order in which they were made. Lanes know nothing of each other.
 */
export class Lane {
  private readonly held: Delivery[] = []
  private running: { readonly delivery: Delivery; readonly abort: AbortController } | undefined
  private cancelWake: () => void = () => {}
  private pausedUntilMs = Number.NEGATIVE_INFINITY
  /** By group, when the latest that was delivered had been made. */
  private readonly deliveredUpTo = new Map<string, number>()
  private stopped = false

  constructor(private readonly options: LaneOptions) {}

  get size(): number {
    return this.held.length
  }

  all(): readonly Delivery[] {
    return this.held
  }

  add(deliveries: readonly Delivery[]): void {
    this.held.push(...deliveries)
    // The sort is stable: of the same moment they stay in the order in which they came.
    this.held.sort((one, other) => one.notification.atMs - other.notification.atMs)
    this.dropBeyond(HELD_MAX)
    this.pump()
  }

  /** Breaks off what is under way. What is held stays undelivered. */
  stop(): void {
    this.stopped = true
    this.cancelWake()
    this.running?.abort.abort()
  }

  /** The oldest go: what is so now matters more than what was. */
  private dropBeyond(countMax: number): void {
    const excess = this.held.length - countMax
    if (excess <= 0) return
    const idle = this.held.filter((one) => one !== this.running?.delivery)
    for (const one of idle.slice(0, excess)) this.end(one, 'dropped', 'too many wait')
  }

  private pump(): void {
    this.cancelWake()
    if (this.running || this.stopped) return
    const { clock } = this.options
    const nowMs = clock.monotonic()
    const heads = headsOf(this.held)
    const next = heads.find((one) => Math.max(one.notBeforeMs, this.pausedUntilMs) <= nowMs)
    if (next) return void this.attempt(next)
    if (heads.length === 0) return
    const wakeAtMs = Math.max(this.pausedUntilMs, Math.min(...heads.map((one) => one.notBeforeMs)))
    this.cancelWake = clock.schedule(wakeAtMs - nowMs, () => this.pump())
  }

  private async attempt(delivery: Delivery): Promise<void> {
    const { clock, tell } = this.options
    const { notification } = delivery
    const upTo = this.deliveredUpTo.get(notification.group.key) ?? Number.NEGATIVE_INFINITY
    if (clock.now() - notification.atMs > GIVE_UP_AFTER_MS) return this.end(delivery, 'expired', 'too old')
    if (notification.atMs < upTo) return this.end(delivery, 'superseded', undefined)
    const abort = new AbortController()
    this.running = { delivery, abort }
    const cancel = clock.schedule(ATTEMPT_TIMEOUT_MS, () => abort.abort())
    const answer = await tell(delivery, abort.signal)
    cancel()
    this.running = undefined
    if (this.stopped && answer.kind === 'later') return
    delivery.attempts++
    this.settle(delivery, answer)
  }

  private settle(delivery: Delivery, answer: ReceiverAnswer): void {
    const { clock, random } = this.options
    const { group, atMs } = delivery.notification
    switch (answer.kind) {
      case 'delivered':
        this.deliveredUpTo.set(group.key, atMs)
        this.end(delivery, 'delivered', undefined)
        break
      case 'refused':
        this.end(delivery, 'refused', answer.reason)
        break
      case 'later': {
        const nowMs = clock.monotonic()
        delivery.notBeforeMs = nowMs + backoffMs(delivery.attempts, random.uniform())
        // Who says how long it wants to be left alone means all that there is for it.
        if (answer.afterMs !== undefined) this.pausedUntilMs = nowMs + answer.afterMs
        this.options.postponed(delivery, answer.reason)
        this.pump()
      }
    }
  }

  private end(delivery: Delivery, outcome: NotificationOutcome, reason: string | undefined): void {
    const place = this.held.indexOf(delivery)
    if (place >= 0) this.held.splice(place, 1)
    delivery.done = { atMs: this.options.clock.now(), outcome }
    this.options.ended(delivery, outcome, reason)
    this.pump()
  }
}

/** The first of each group. */
function headsOf(held: readonly Delivery[]): readonly Delivery[] {
  const seen = new Set<string>()
  return held.filter(({ notification: { group } }) => {
    if (seen.has(group.key)) return false
    seen.add(group.key)
    return true
  })
}
