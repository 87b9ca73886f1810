import { z } from 'zod'
import { duration } from './quantities.ts'

const common = {
  /** Also a label of metrics, hence short and plain. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be lower-case letters, digits and dashes'),
  severities: z
    .array(z.enum(['critical', 'warning', 'info']))
    .min(1)
    .optional(),
  alerts: z
    .array(z.string().regex(/^[A-Za-z0-9*]{1,100}$/))
    .min(1)
    .optional(),
  repeatEvery: duration().prefault('4h'),
  sendResolved: z.boolean().default(true),
}

const address = z.url({ protocol: /^https?$/ })
const mailbox = z
  .string()
  .min(3)
  .max(320)
  .regex(/^[^\r\n]+@[^\r\n]+$/, 'must be an e-mail address')

const Webhook = z.strictObject({
  kind: z.literal('webhook'),
  ...common,
  url: address,
  secret: z.string().min(16, 'must have 16 characters or more').optional(),
})

const Slack = z.strictObject({ kind: z.literal('slack'), ...common, url: address })

const Email = z
  .strictObject({
    kind: z.literal('email'),
    ...common,
    host: z.string().min(1),
    port: z.int().min(1).max(65_535).optional(),
    security: z.enum(['tls', 'starttls', 'none']).default('starttls'),
    user: z.string().min(1).optional(),
    password: z.string().min(1).optional(),
    ca: z.string().min(1).optional(),
    from: mailbox,
    to: z.array(mailbox).min(1).max(100),
  })
  .refine(({ user, password }) => (user === undefined) === (password === undefined), {
    path: ['password'],
    message: 'user and password come together',
  })
  .refine(({ security, user }) => security !== 'none' || user === undefined, {
    path: ['security'],
    message: 'a password is never sent in the clear: use tls or starttls',
  })

const Receiver = z.discriminatedUnion('kind', [Webhook, Email, Slack])

/** `monitor.receivers`: who is told of alerts, and how. */
export const Receivers = z
  .array(Receiver)
  .max(50)
  .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'two have the same name')
  .default([])
  .describe(
    "Who is told of alerts: kind (webhook, email, slack), name, severities (critical, warning, info; all), alerts (their names, * for any part; all), repeatEvery (4h), sendResolved (true). webhook: url, secret (signs what is sent). slack: url (an incoming webhook; Mattermost's too). email: host, port, security (starttls, tls, none), user, password, ca (file with the authority of its certificate), from, to.",
  )

export type ReceiverSettings = z.output<typeof Receiver>
export type WebhookSettings = z.output<typeof Webhook>
export type SlackSettings = z.output<typeof Slack>
export type EmailSettings = z.output<typeof Email>

/** Receivers as they may be shown: an address of Slack is a credential by itself, and that of a webhook may hold one. */
export function shownReceivers(receivers: readonly ReceiverSettings[]): readonly object[] {
  return receivers.map((one) => {
    if (one.kind === 'email') return one.password === undefined ? one : { ...one, password: REDACTED }
    const url = `${new URL(one.url).origin}/${REDACTED}`
    return 'secret' in one && one.secret !== undefined ? { ...one, url, secret: REDACTED } : { ...one, url }
  })
}

const REDACTED = '[redacted]'

/** In words what is not safe about them, for the log at the start. */
export function receiverWarnings(receivers: readonly ReceiverSettings[]): readonly string[] {
  return receivers.flatMap((one) => {
    if (one.kind === 'email') {
      const open = one.security === 'none' && !isLoopback(one.host)
      return open ? [`mail to receiver '${one.name}' goes out unencrypted`] : []
    }
    const { protocol, hostname } = new URL(one.url)
    return protocol === 'http:' && !isLoopback(hostname)
      ? [`what receiver '${one.name}' is told goes out unencrypted: its url should begin with https://`]
      : []
  })
}

function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/.test(host)
}
