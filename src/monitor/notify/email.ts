import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createTransport } from 'nodemailer'
import type { EmailSettings } from '../../config/notification-settings.ts'
import type { Notification } from '../alerts/notification.ts'
import { headlineOf, textOf } from './message-text.ts'
import { connectionWords } from './post-json.ts'
import type { ReceiverAnswer } from './receiver-answer.ts'
import type { Telling } from './telling.ts'

/** By SMTP, on a connection of its own: alerts are rare, and a connection that was kept may have died unnoticed. */
export async function tellByEmail(
  settings: EmailSettings,
  notification: Notification,
  telling: Telling,
): Promise<ReceiverAnswer> {
  try {
    await send(settings, notification, telling)
    return { kind: 'delivered' }
  } catch (reason) {
    return telling.signal.aborted ? { kind: 'later', reason: 'it did not answer in time' } : answerOf(reason)
  }
}

async function send(
  settings: EmailSettings,
  notification: Notification,
  { runbookUrl, signal }: Telling,
): Promise<void> {
  const transport = transportOf(settings)
  try {
    const sending = transport.sendMail({
      from: settings.from,
      to: settings.to,
      subject: headlineOf(notification),
      text: textOf(notification, runbookUrl),
      messageId: messageId(settings, notification),
      headers: { 'X-Helixflow-Id': notification.id, 'Auto-Submitted': 'auto-generated' },
    })
    await Promise.race([sending, aborted(signal)])
  } finally {
    transport.close()
  }
}

const TIMEOUT_MS = 10_000

function transportOf({ host, port, security, user, password, ca }: EmailSettings) {
  return createTransport({
    host,
    port: port ?? (security === 'tls' ? 465 : security === 'starttls' ? 587 : 25),
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    ...(user === undefined || password === undefined ? {} : { auth: { user, pass: password } }),
    ...(ca === undefined ? {} : { tls: { ca: readFileSync(ca, 'utf8') } }),
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
}

/** The same for each attempt, so that mailboxes that look at it show a mail that came twice once. */
function messageId({ name, from }: EmailSettings, { id }: Notification): string {
  const digest = createHash('sha256').update(`${name} ${id}`).digest('hex').slice(0, 32)
  return `<${digest}@${/@([\w.-]+)/.exec(from)?.[1] ?? 'helixflow'}>`
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

/** 4xx of SMTP passes, 5xx stays (RFC 5321, 4.2.1): a wrong password, an address that is not there. */
function answerOf(reason: unknown): ReceiverAnswer {
  const code = reason instanceof Error && 'responseCode' in reason ? Number(reason.responseCode) : Number.NaN
  if (Number.isNaN(code)) return { kind: 'later', reason: connectionWords(reason) }
  return code >= 500
    ? { kind: 'refused', reason: `it answered ${code}` }
    : { kind: 'later', reason: `it answered ${code}` }
}
