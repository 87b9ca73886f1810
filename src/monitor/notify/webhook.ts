import type { WebhookSettings } from '../../config/notification-settings.ts'
import type { Notification, NotifiedAlert } from '../alerts/notification.ts'
import { headlineOf, runbookLink } from './message-text.ts'
import { postJson } from './post-json.ts'
import type { ReceiverAnswer } from './receiver-answer.ts'
import { SIGNATURE_HEADER, signatureOf, TIMESTAMP_HEADER } from './signature.ts'
import type { Telling } from './telling.ts'

/** A notification as JSON, signed where the receiver has a secret. */
export function tellByWebhook(
  { name, url, secret }: WebhookSettings,
  notification: Notification,
  telling: Telling,
): Promise<ReceiverAnswer> {
  const body = JSON.stringify(payloadOf(name, notification, telling.runbookUrl))
  const timestampS = Math.floor(telling.clock.now() / 1_000)
  const signature = secret === undefined ? {} : { [SIGNATURE_HEADER]: signatureOf(secret, timestampS, body) }
  const headers = {
    'idempotency-key': notification.id,
    [TIMESTAMP_HEADER]: String(timestampS),
    ...signature,
  }
  return postJson({ url, body, headers }, telling)
}

/** See docs/notifications.md: others parse this. */
function payloadOf(receiver: string, notification: Notification, runbookUrl: string | undefined): object {
  const { id, group, status, reminder, alerts, atMs } = notification
  return {
    version: 1,
    id,
    receiver,
    status,
    reminder,
    title: headlineOf(notification),
    group,
    at: timestamp(atMs),
    alerts: alerts.map((alert) => alertPayload(alert, runbookUrl)),
  }
}

function alertPayload(alert: NotifiedAlert, runbookUrl: string | undefined): object {
  const { startedAtMs, endedAtMs, value, runbook: _, ...rest } = alert
  return {
    ...rest,
    value: value ?? null,
    runbook: runbookLink(alert, runbookUrl),
    startedAt: timestamp(startedAtMs),
    endedAt: endedAtMs === undefined ? null : timestamp(endedAtMs),
  }
}

function timestamp(atMs: number): string {
  return new Date(atMs).toISOString()
}
