import { describe, expect, test } from 'vitest'
import { alertOf, notificationOf, receiversOf } from '../../../test/support/notifications.ts'
import { receiverWarnings, shownReceivers } from '../../config/notification-settings.ts'
import { headlineOf, textOf } from './message-text.ts'
import { answerOfStatus, backoffMs, retryAfterMs } from './receiver-answer.ts'
import { slackMessage } from './slack.ts'
import { wantedBy } from './wanted-by.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 10, 1)

function receiverOf(over: object = {}) {
  const [receiver] = receiversOf({ kind: 'webhook', name: 'hook', url: 'https://hooks.example/x', ...over })
  if (!receiver) throw new Error('no receiver')
  return receiver
}

describe('a receiver', () => {
  test('is told of the alerts that it wants, and of no others', () => {
    const mixed = notificationOf(NOW_MS, 'firing', {
      alerts: [alertOf(), alertOf({ alert: 'DiskFilling', severity: 'warning' })],
    })
    const names = (over: object) =>
      wantedBy(receiverOf(over), mixed, undefined)?.alerts.map(({ alert }) => alert)
    expect(names({})).toEqual(['NodeDown', 'DiskFilling'])
    expect(names({ severities: ['warning'] })).toEqual(['DiskFilling'])
    expect(names({ alerts: ['Node*'] })).toEqual(['NodeDown'])
    expect(names({ alerts: ['*Filling', 'NodeDown'] })).toEqual(['NodeDown', 'DiskFilling'])
    expect(names({ alerts: ['Node'] })).toBeUndefined()
    expect(names({ severities: ['info'] })).toBeUndefined()
  })

  test('is told of an end only if it was told of the beginning, and wants ends', () => {
    const end = notificationOf(NOW_MS, 'resolved')
    expect(wantedBy(receiverOf(), end, undefined)).toBeUndefined()
    expect(wantedBy(receiverOf(), end, NOW_MS - 1)).toEqual(end)
    expect(wantedBy(receiverOf({ sendResolved: false }), end, NOW_MS - 1)).toBeUndefined()
  })

  test('is reminded as often as it wants', () => {
    const reminder = notificationOf(NOW_MS, 'firing', { reminder: true })
    const hourly = receiverOf({ repeatEvery: '1h' })
    expect(wantedBy(hourly, reminder, NOW_MS - HOUR_MS / 2)).toBeUndefined()
    expect(wantedBy(hourly, reminder, NOW_MS - HOUR_MS)).toEqual(reminder)
    expect(wantedBy(receiverOf(), reminder, NOW_MS - HOUR_MS)).toBeUndefined()
    // One that is new since it began to fire.
    expect(wantedBy(receiverOf(), reminder, undefined)).toEqual(reminder)
  })

  test('gets what is meant for it alone', () => {
    const other = notificationOf(NOW_MS, 'firing', { receiver: 'other' })
    expect(wantedBy(receiverOf(), other, undefined)).toBeUndefined()
    expect(wantedBy(receiverOf({ name: 'other' }), other, undefined)).toEqual(other)
  })
})

describe('settings of receivers', () => {
  const mail = { kind: 'email', name: 'mail', host: 'mail.example', from: 'a@b.c', to: ['d@e.f'] }

  test('show no secret: neither password nor secret nor the address of a hook', () => {
    const shown = JSON.stringify(
      shownReceivers(
        receiversOf(
          {
            kind: 'webhook',
            name: 'hook',
            url: 'https://h.example/path?token=geheim',
            secret: 'geheim-geheim-geheim',
          },
          { kind: 'slack', name: 'chat', url: 'https://user:geheim@hooks.slack.example/services/geheim' },
          { ...mail, user: 'me', password: 'geheim' },
        ),
      ),
    )
    expect(shown).not.toContain('geheim')
    expect(shown).toContain('https://hooks.slack.example/[redacted]')
  })

  test('refuse two of a name, half a login, and a password in the clear', () => {
    const refused = (...given: object[]) => expect(() => receiversOf(...given)).toThrow()
    refused(mail, mail)
    refused({ ...mail, user: 'me' })
    refused({ ...mail, security: 'none', user: 'me', password: 'p' })
    refused({ ...mail, from: 'a@b.c\r\nBcc: x@y.z' })
    refused({ kind: 'webhook', name: 'hook', url: 'https://h.example', secret: 'short' })
  })

  test('warn of what goes unencrypted beyond this machine', () => {
    const warnings = receiverWarnings(
      receiversOf(
        { kind: 'webhook', name: 'far', url: 'http://h.example/' },
        { kind: 'webhook', name: 'near', url: 'http://127.0.0.1:9/' },
        { kind: 'webhook', name: 'safe', url: 'https://h.example/' },
        { ...mail, security: 'none' },
      ),
    )
    expect(warnings).toEqual([expect.stringContaining("'far'"), expect.stringContaining("'mail'")])
  })
})

describe('what a receiver answers', () => {
  test.each([
    [200, 'delivered'],
    [204, 'delivered'],
    [302, 'refused'],
    [400, 'refused'],
    [404, 'refused'],
    [408, 'later'],
    [429, 'later'],
    [500, 'later'],
    [503, 'later'],
  ] as const)('%i means %s', (status, kind) => {
    expect(answerOfStatus(status, undefined, NOW_MS).kind).toBe(kind)
  })

  test('Retry-After is seconds or a date, and never more than an hour', () => {
    expect(retryAfterMs('7', NOW_MS)).toBe(7_000)
    expect(retryAfterMs(new Date(NOW_MS + 90_000).toUTCString(), NOW_MS)).toBe(90_000)
    expect(retryAfterMs(new Date(NOW_MS - 90_000).toUTCString(), NOW_MS)).toBe(0)
    expect(retryAfterMs('999999', NOW_MS)).toBe(HOUR_MS)
    expect(retryAfterMs('soon', NOW_MS)).toBeUndefined()
  })

  test('waits grow from a second to five minutes, half of each left to chance', () => {
    expect(backoffMs(1, 0)).toBe(500)
    expect(backoffMs(1, 1)).toBe(1_000)
    expect(backoffMs(4, 1)).toBe(8_000)
    expect(backoffMs(1_000, 1)).toBe(300_000)
  })
})

describe('the text', () => {
  test('says what is so, what it means, what to do, and where more is written', () => {
    const text = textOf(notificationOf(NOW_MS), 'https://docs.example/helix/')
    const { summary, meaning, action } = alertOf()
    for (const part of [summary, meaning, action, 'https://docs.example/helix/runbooks/NodeDown.md'])
      expect(text).toContain(part)
    expect(textOf(notificationOf(NOW_MS), undefined)).toContain('docs/runbooks/NodeDown.md')
  })

  test('has one headline for a group, with how many fire', () => {
    const alerts = [alertOf(), alertOf({ labels: { node: 'node-2' } })]
    expect(headlineOf(notificationOf(NOW_MS, 'firing', { alerts }))).toBe('[FIRING] critical NodeDown (2)')
    expect(headlineOf(notificationOf(NOW_MS, 'resolved'))).toMatch(/^\[RESOLVED\] critical NodeDown: /)
  })

  test('for Slack lets no label call a channel, and keeps to its sizes', () => {
    const alerts = Array.from({ length: 60 }, () => alertOf({ summary: '<!channel> & '.repeat(500) }))
    const message = slackMessage(notificationOf(NOW_MS, 'firing', { alerts }), 'https://docs.example')
    const { blocks } = message as { blocks: { type: string; text?: { text: string } }[] }
    expect(JSON.stringify(message)).not.toContain('<!channel>')
    expect(blocks.length).toBeLessThanOrEqual(50)
    for (const { type, text } of blocks) {
      if (text) expect(text.text.length).toBeLessThanOrEqual(type === 'header' ? 150 : 3_000)
    }
  })
})
