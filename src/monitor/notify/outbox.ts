import type { NotificationOutcome, NotificationView } from '../../contracts/monitor.ts'
import type { Clock } from '../../core/clock.ts'
import type { Database } from '../../storage/database.ts'
import {
  claimNotifications,
  dropOldNotifications,
  lastNotifications,
  listNotifications,
  type StoredNotification,
  saveNotifications,
} from '../../storage/notifications.ts'
import type { Notification } from '../alerts/notification.ts'
import type { Delivery } from './delivery.ts'
import { GIVE_UP_AFTER_MS } from './lane.ts'

/** Twice as long as the monitor takes at most to say again that it is at them. */
const LEASE_MS = 30_000
const KEPT_MS = 30 * 24 * 3_600_000
/** How far back it is looked for what a receiver was told last: further than any reminder. */
const TOLD_SINCE_MS = 7 * 24 * 3_600_000

/** Where notifications wait in the database, so that none is lost with this process and none is told twice by two. */
export class Outbox {
  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  /** Writes down what they are and what became of them. @returns the keys of those that were not known */
  async save(deliveries: readonly Delivery[]): Promise<ReadonlySet<string>> {
    if (deliveries.length === 0) return new Set()
    const added = await saveNotifications(this.database, deliveries.map(stored), this.clock.now() + LEASE_MS)
    return new Set(added.map(({ id, receiver }) => `${receiver} ${id}`))
  }

  /** What that receiver is to be told and nobody is at. @param all also what another process was at */
  async claim(
    receiver: string,
    { limit, all }: { limit: number; all: boolean },
  ): Promise<readonly Delivery[]> {
    const nowMs = this.clock.now()
    const claim = { receiver, nowMs, leaseUntilMs: nowMs + LEASE_MS, limit, all }
    return (await claimNotifications(this.database, claim)).map(delivery)
  }

  /** The last that each receiver was told of each group. */
  async last(): Promise<readonly Delivery[]> {
    return (await lastNotifications(this.database, this.clock.now() - TOLD_SINCE_MS)).map(delivery)
  }

  /** The newest first. */
  async list(limit: number): Promise<readonly NotificationView[]> {
    return (await listNotifications(this.database, limit)).map(view)
  }

  async tidy(): Promise<void> {
    const nowMs = this.clock.now()
    await dropOldNotifications(this.database, {
      nowMs,
      giveUpBeforeMs: nowMs - GIVE_UP_AFTER_MS,
      forgetBeforeMs: nowMs - KEPT_MS,
    })
  }
}

function stored({ receiver, notification, attempts, done }: Delivery): StoredNotification {
  const { id, group, atMs } = notification
  return { id, receiver, groupKey: group.key, body: notification, attempts, createdAtMs: atMs, done }
}

function delivery({ receiver, body, attempts }: StoredNotification): Delivery {
  // Written by `stored` alone; the table is no one else's.
  return { receiver, notification: body as Notification, attempts, notBeforeMs: Number.NEGATIVE_INFINITY }
}

function view({ id, receiver, body, attempts, createdAtMs, done }: StoredNotification): NotificationView {
  // As above.
  const { group, status, alerts, reminder } = body as Notification
  return {
    ...{ id, receiver, alert: group.alert, severity: group.severity, status, alerts: alerts.length },
    ...{ summary: alerts[0]?.summary ?? '', reminder, atMs: createdAtMs, attempts },
    outcome: done && (done.outcome as NotificationOutcome),
    doneAtMs: done?.atMs,
  }
}
