import type { ReceiverSettings } from '../../config/notification-settings.ts'
import { type Clock, delay } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { Random } from '../../core/random.ts'
import type { Notification } from '../alerts/notification.ts'
import { type Delivery, deliveryKey } from './delivery.ts'
import { ATTEMPT_TIMEOUT_MS, HELD_MAX, Lane } from './lane.ts'
import type { Outbox } from './outbox.ts'
import type { ReceiverAnswer } from './receiver-answer.ts'
import { tellReceiver } from './tell-receiver.ts'
import { testNotification } from './test-notification.ts'
import { wantedBy } from './wanted-by.ts'

export interface NotifierOptions {
  readonly receivers: readonly ReceiverSettings[]
  /** Where runbooks are read; undefined: by their path in the documents. */
  readonly runbookUrl: string | undefined
  readonly outbox: Outbox
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly log: Logger
}

const UPKEEP_MS = 5_000
/** A database that is frozen must not keep back the news of it. */
const SAVE_WAIT_MS = 1_000
const CLAIM_MAX = 100
const TIDY_EVERY_MS = 600_000

/**
 * Tells receivers of alerts, each of them once where that is possible and at least once in any case. Of several monitors the
 * one that works has it started. What is to be told lies in the database, and in memory too: while the database is away,
 * alerts go out all the same.
 */
export class Notifier {
  private readonly lanes: ReadonlyMap<string, Lane>
  private readonly receivers: ReadonlyMap<string, ReceiverSettings>
  /** What became of these has yet to be written down. */
  private readonly unsaved = new Map<string, Delivery>()
  /** The latest that are over, so that none is begun again. */
  private readonly finished = new Map<string, Delivery>()
  /** By receiver and group, when the receiver was last told that it fires. */
  private readonly told = new Map<string, number>()
  /** Whether it is known what was told before this process. */
  private knowsTold = false
  /** Receivers whose deliveries of an earlier process were taken over. */
  private readonly takenOver = new Set<string>()
  private readonly stopping = new AbortController()
  private upkeep: Promise<void> | undefined
  private firstLook: Promise<void> | undefined
  private tidiedAtMs = Number.NEGATIVE_INFINITY

  constructor(private readonly options: NotifierOptions) {
    this.receivers = new Map(options.receivers.map((one) => [one.name, one]))
    this.lanes = new Map(options.receivers.map((one) => [one.name, this.laneOf(one)]))
  }

  /** Begins to deliver, with what an earlier monitor left. */
  start(): void {
    this.firstLook ??= this.look()
    this.upkeep ??= this.keepUp(this.firstLook)
  }

  /**
   * Sees to it that whoever wants to know is told. Returns once that is written down, or cannot be at the moment. The same
   * notification again changes nothing.
   */
  async send(notification: Notification): Promise<void> {
    // What was to be told before goes first, where the database says so soon.
    if (this.firstLook) await Promise.race([this.firstLook, delay(this.options.clock, SAVE_WAIT_MS)])
    const deliveries: Delivery[] = []
    for (const receiver of this.receivers.values()) {
      const wanted = wantedBy(receiver, notification, this.toldAtMs(receiver.name, notification))
      if (!wanted) continue
      const delivery = {
        receiver: receiver.name,
        notification: wanted,
        attempts: 0,
        notBeforeMs: Number.NEGATIVE_INFINITY,
      }
      if (!this.holds(delivery)) deliveries.push(delivery)
    }
    if (deliveries.length === 0) return
    for (const one of deliveries) this.noteTold(one)
    const known = await this.saveSoon(deliveries)
    for (const one of deliveries) {
      // Once it is written down, taking up what nobody is at may have been faster.
      if (!known.has(deliveryKey(one)) && !this.isInLane(one)) this.lanes.get(one.receiver)?.add([one])
    }
  }

  /** @throws HelixError `not_found` for a receiver that is not in the settings; `notification_failed` with the reason */
  async test(name: string): Promise<void> {
    const receiver = this.receivers.get(name)
    if (!receiver) throw new HelixError('not_found', `There is no receiver '${name}' in monitor.receivers.`)
    const abort = new AbortController()
    const cancel = this.options.clock.schedule(ATTEMPT_TIMEOUT_MS, () => abort.abort())
    const answer = await this.tell(receiver, testNotification(this.options.clock.now()), abort.signal)
    cancel()
    if (answer.kind === 'delivered') return
    throw new HelixError(
      'notification_failed',
      `'${name}' did not take the notification: ${answer.reason}.`,
      {
        retryable: answer.kind === 'later',
      },
    )
  }

  /** Breaks off what is under way; whichever monitor works next goes on with it, with a notifier of its own. */
  async stop(): Promise<void> {
    for (const lane of this.lanes.values()) lane.stop()
    this.stopping.abort()
    await this.upkeep
    await this.save()
  }

  private laneOf(receiver: ReceiverSettings): Lane {
    const { clock, random, metrics, log } = this.options
    const { name } = receiver
    return new Lane({
      clock,
      random,
      tell: ({ notification }, signal) => this.tell(receiver, notification, signal),
      ended: (delivery, outcome, reason) => {
        metrics.add('helixflow_notifications_total', { receiver: name, outcome })
        const facts = { receiver: name, notification: delivery.notification.id, outcome, reason }
        if (outcome === 'delivered') log.info('notification delivered', facts)
        else log.warn('notification not delivered', facts)
        this.finish(delivery)
      },
      postponed: (delivery, reason) => {
        metrics.add('helixflow_notifications_total', { receiver: name, outcome: 'retried' })
        const { id } = delivery.notification
        log.warn('notification postponed', { receiver: name, notification: id, reason })
        this.unsave(delivery)
      },
    })
  }

  private async tell(
    receiver: ReceiverSettings,
    notification: Notification,
    signal: AbortSignal,
  ): Promise<ReceiverAnswer> {
    const { clock, runbookUrl, log } = this.options
    try {
      return await tellReceiver(receiver, notification, { clock, runbookUrl, signal })
    } catch (reason) {
      log.error('notification failed', { receiver: receiver.name, cause: HelixError.from(reason).message })
      return { kind: 'later', reason: 'it could not be sent' }
    }
  }

  private finish(delivery: Delivery): void {
    const key = deliveryKey(delivery)
    this.unsaved.set(key, delivery)
    this.finished.set(key, delivery)
    const [oldest] = this.finished.keys()
    if (this.finished.size > FINISHED_MAX && oldest !== undefined) this.finished.delete(oldest)
    void this.save()
  }

  private holds(delivery: Delivery): boolean {
    const key = deliveryKey(delivery)
    if (this.unsaved.has(key) || this.finished.has(key)) return true
    return this.isInLane(delivery)
  }

  private isInLane(delivery: Delivery): boolean {
    const key = deliveryKey(delivery)
    return (this.lanes.get(delivery.receiver)?.all() ?? []).some((one) => deliveryKey(one) === key)
  }

  /** @returns keys of those that were known already */
  private async saveSoon(deliveries: readonly Delivery[]): Promise<ReadonlySet<string>> {
    const { outbox, clock } = this.options
    const saving = outbox.save(deliveries).then(
      (added) => new Set(deliveries.map(deliveryKey).filter((key) => !added.has(key))),
      (reason) => {
        this.options.log.warn('notification kept in memory', { cause: HelixError.from(reason).code })
        for (const one of deliveries) this.unsave(one)
        return NONE
      },
    )
    return Promise.race([saving, delay(clock, SAVE_WAIT_MS).then(() => NONE)])
  }

  private async keepUp(firstLook: Promise<void>): Promise<void> {
    const { signal } = this.stopping
    await firstLook
    while (!signal.aborted) {
      await delay(this.options.clock, UPKEEP_MS, signal).catch(() => undefined)
      if (!signal.aborted) await this.look()
    }
  }

  private async look(): Promise<void> {
    await this.takeUp().catch((reason) => {
      this.options.log.debug('notifications not read', { cause: HelixError.from(reason).code })
    })
  }

  /** Says again that it is at what it holds, and takes up what nobody is at. @throws HelixError `storage_unavailable` */
  private async takeUp(): Promise<void> {
    const { outbox, clock } = this.options
    await this.learnTold()
    for (const lane of this.lanes.values()) for (const one of lane.all()) this.unsave(one)
    await this.save()
    for (const [receiver, lane] of this.lanes) {
      const limit = Math.min(CLAIM_MAX, HELD_MAX - lane.size)
      if (limit <= 0) continue
      const claimed = await outbox.claim(receiver, { limit, all: !this.takenOver.has(receiver) })
      if (claimed.length < limit) this.takenOver.add(receiver)
      // That it is over was not written down yet, or just now.
      for (const one of claimed) this.unsave(this.finished.get(deliveryKey(one)))
      lane.add(claimed.filter((one) => !this.holds(one)))
    }
    if (clock.monotonic() - this.tidiedAtMs < TIDY_EVERY_MS) return
    await outbox.tidy()
    this.tidiedAtMs = clock.monotonic()
  }

  private unsave(delivery: Delivery | undefined): void {
    if (delivery) this.unsaved.set(deliveryKey(delivery), delivery)
  }

  private async save(): Promise<void> {
    const deliveries = [...this.unsaved].map(([key, one]) => ({ key, one, saved: { ...one } }))
    try {
      await this.options.outbox.save(deliveries.map(({ saved }) => saved))
      for (const { key, one, saved } of deliveries) {
        // What has ended or failed meanwhile is saved again.
        if (one.done === saved.done && one.attempts === saved.attempts) this.unsaved.delete(key)
      }
    } catch (reason) {
      this.options.log.debug('notifications not saved', { cause: HelixError.from(reason).code })
      this.forgetBeyond(UNSAVED_MAX)
    }
  }

  /** While the database stays away: the oldest that are over; they are told twice at worst. */
  private forgetBeyond(countMax: number): void {
    for (const [key, delivery] of this.unsaved) {
      if (this.unsaved.size <= countMax) return
      if (delivery.done) this.unsaved.delete(key)
    }
  }

  private toldAtMs(receiver: string, { group }: Notification): number | undefined {
    // While that cannot be known, it is better told of an end for nothing than left with an alert that is over.
    return this.told.get(`${receiver} ${group.key}`) ?? (this.knowsTold ? undefined : 0)
  }

  private noteTold({ receiver, notification: { group, status, atMs } }: Delivery): void {
    const key = `${receiver} ${group.key}`
    if (status === 'firing') this.told.set(key, atMs)
    else this.told.delete(key)
  }

  private async learnTold(): Promise<void> {
    if (this.knowsTold) return
    const now = new Map(this.told)
    for (const one of await this.options.outbox.last()) this.noteTold(one)
    // What was told since is newer.
    for (const [key, atMs] of now) this.told.set(key, atMs)
    this.knowsTold = true
  }
}

const NONE: ReadonlySet<string> = new Set()
const UNSAVED_MAX = 2_000
const FINISHED_MAX = 2_000
