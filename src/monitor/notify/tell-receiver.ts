import type { ReceiverSettings } from '../../config/notification-settings.ts'
import type { Notification } from '../alerts/notification.ts'
import { tellByEmail } from './email.ts'
import type { ReceiverAnswer } from './receiver-answer.ts'
import { tellBySlack } from './slack.ts'
import type { Telling } from './telling.ts'
import { tellByWebhook } from './webhook.ts'

/** One attempt. Whatever goes wrong is an answer; no address and no secret stands in it. */
export function tellReceiver(
  receiver: ReceiverSettings,
  notification: Notification,
  telling: Telling,
): Promise<ReceiverAnswer> {
  switch (receiver.kind) {
    case 'webhook':
      return tellByWebhook(receiver, notification, telling)
    case 'slack':
      return tellBySlack(receiver, notification, telling)
    case 'email':
      return tellByEmail(receiver, notification, telling)
  }
}
