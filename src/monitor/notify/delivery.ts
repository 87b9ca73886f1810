import type { NotificationOutcome } from '../../contracts/monitor.ts'
import type { Notification } from '../alerts/notification.ts'

/** A notification on its way to one receiver. */
export interface Delivery {
  readonly receiver: string
  readonly notification: Notification
  attempts: number
  /** On the monotonic clock. */
  notBeforeMs: number
  /** Once it is over; it stays until that is written down. */
  done?: { readonly atMs: number; readonly outcome: NotificationOutcome }
}

/** The same for the same notification and receiver. */
export function deliveryKey({ receiver, notification }: Pick<Delivery, 'receiver' | 'notification'>): string {
  return `${receiver} ${notification.id}`
}
