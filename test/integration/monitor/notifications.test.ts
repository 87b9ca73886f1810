import { createHmac, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { TlsFiles } from '../../../src/contracts/rpc-transport.ts'
import { type LogFields, type Logger, silentLog } from '../../../src/core/log.ts'
import { MetricRegistry } from '../../../src/metrics/registry.ts'
import { Notifier } from '../../../src/monitor/notify/notifier.ts'
import { Outbox } from '../../../src/monitor/notify/outbox.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { systemClock, systemRandom } from '../../../src/system.ts'
import { makeCertificates } from '../../support/certificates.ts'
import { notificationOf, receiversOf } from '../../support/notifications.ts'
import { answering, type Received, ReceiverServer, taken } from '../../support/receiver-server.ts'
import { DatabasePlace, Holder } from '../storage/database-place.ts'

const SECRET = 'a-secret-of-the-receiver'

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  await migrate({ connection: postgres.connection, log: silentLog, clock: systemClock })
  database = open()
})
afterAll(async () => {
  await database?.close()
  await postgres?.stop()
  await place?.remove()
})

const started: { stop(): Promise<void> }[] = []
beforeEach(() => database.query('delete from notifications'))
afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop()
})

function open(): Database {
  return openDatabase(postgres.connection, {
    acquireTimeoutMs: 1_000,
    queryTimeoutMs: 1_000,
    log: silentLog,
    clock: systemClock,
  })
}

async function receiver(answer?: (received: Received) => void): Promise<ReceiverServer> {
  const server = await ReceiverServer.start(answer)
  started.push(server)
  return server
}

interface Started {
  readonly notifier: Notifier
  readonly lines: string[]
  metrics(): string
}

function notify(receivers: readonly object[], at: Database = database): Started {
  const lines: string[] = []
  const registry = new MetricRegistry()
  const notifier = new Notifier({
    receivers: receiversOf(...receivers),
    runbookUrl: 'https://docs.example',
    outbox: new Outbox(at, systemClock),
    clock: systemClock,
    random: systemRandom,
    metrics: registry,
    log: collecting(lines),
  })
  notifier.start()
  started.push(notifier)
  return { notifier, lines, metrics: () => [...registry.text('prometheus')].join('') }
}

function collecting(lines: string[]): Logger {
  const write = (event: string, fields?: LogFields) => void lines.push(`${event} ${JSON.stringify(fields)}`)
  return { debug: write, info: write, warn: write, error: write, with: () => collecting(lines) }
}

async function outcomes(): Promise<readonly (string | null)[]> {
  const rows = await database.query<{ outcome: string | null }>(
    'select outcome from notifications order by ordinal',
  )
  return rows.map(({ outcome }) => outcome)
}

const now = () => systemClock.now()
const hook = ({ url }: ReceiverServer, over: object = {}) => ({ kind: 'webhook', name: 'hook', url, ...over })

describe('a webhook', () => {
  test('is told once, signed over time and body, with what the alert means and its runbook', async () => {
    const server = await receiver()
    const { notifier, metrics } = notify([hook(server, { secret: SECRET })])
    const notification = notificationOf(now())
    await notifier.send(notification)
    await notifier.send(notification)
    await server.count(1)
    await expect.poll(outcomes).toEqual(['delivered'])
    const { headers, body } = server.received[0] as Received
    const timestamp = String(headers['x-helixflow-timestamp'])
    const expected = `sha256=${createHmac('sha256', SECRET).update(`${timestamp}.${body}`).digest('hex')}`
    const signature = Buffer.from(String(headers['x-helixflow-signature']))
    expect(timingSafeEqual(signature, Buffer.from(expected))).toBe(true)
    expect(headers['idempotency-key']).toBe(notification.id)
    expect(Math.abs(Number(timestamp) * 1_000 - now())).toBeLessThan(60_000)
    expect(JSON.parse(body)).toMatchObject({
      id: notification.id,
      status: 'firing',
      alerts: [{ alert: 'NodeDown', runbook: 'https://docs.example/runbooks/NodeDown.md' }],
    })
    expect(server.received).toHaveLength(1)
    expect(metrics()).toContain('helixflow_notifications_total{receiver="hook",outcome="delivered"} 1')
  })

  test('that fails is told again, the end of an alert never before its beginning', async () => {
    let failures = 2
    const server = await receiver((received) => (failures-- > 0 ? answering(503)(received) : taken(received)))
    const { notifier, metrics } = notify([hook(server)])
    await notifier.send(notificationOf(now()))
    await notifier.send(notificationOf(now() + 1, 'resolved'))
    await server.count(4)
    expect(server.bodies().map(({ status }) => status)).toEqual(['firing', 'firing', 'firing', 'resolved'])
    expect(metrics()).toContain('{receiver="hook",outcome="retried"} 2')
    await expect.poll(outcomes).toEqual(['delivered', 'delivered'])
  })

  test('that says no is not asked again, and a redirect is not followed', async () => {
    const elsewhere = await receiver()
    const no = await receiver(answering(400))
    const away = await receiver(answering(302, { location: elsewhere.url }))
    const { notifier } = notify([hook(no), hook(away, { name: 'away' })])
    await notifier.send(notificationOf(now()))
    await expect.poll(outcomes).toEqual(['refused', 'refused'])
    expect([no.received.length, away.received.length, elsewhere.received.length]).toEqual([1, 1, 0])
  })

  test('that never answers keeps no other waiting', async () => {
    const silent = await receiver(() => {})
    const quick = await receiver()
    const { notifier } = notify([hook(silent), hook(quick, { name: 'quick' })])
    await notifier.send(notificationOf(now()))
    await silent.count(1)
    await quick.count(1)
    await notifier.send(notificationOf(now() + 1, 'resolved'))
    await quick.count(2)
    expect(silent.received).toHaveLength(1)
  })
})

describe('no notification is lost', () => {
  test('with a process that is killed after it was sent and before that was written down', async () => {
    let killed: Promise<void> | undefined
    const server = await receiver(() => {
      // It has come, and the sender never learns it.
      killed ??= other.kill()
    })
    const notification = notificationOf(now())
    const place = JSON.stringify(postgres.connection)
    const other = Holder.run(`${import.meta.dirname}/run-notifier.ts`, [
      place,
      server.url,
      JSON.stringify(notification),
    ])
    await server.count(1)
    await killed
    expect(await outcomes()).toEqual([null])
    server.answer = taken
    notify([hook(server)])
    await server.count(2)
    await expect.poll(outcomes).toEqual(['delivered'])
    expect(server.bodies().map(({ id }) => id)).toEqual([notification.id, notification.id])
  })

  test('while the database stands still: it goes out at once, and is written down later', async () => {
    const server = await receiver()
    const { notifier } = notify([hook(server)])
    // As long as this lasts no row can be written.
    const holding = open()
    let release = () => {}
    let held: Promise<void> = Promise.resolve()
    await new Promise<void>((locked) => {
      held = holding.transaction(async (queries) => {
        await queries.query('lock table notifications in access exclusive mode')
        locked()
        await new Promise<void>((resolve) => {
          release = resolve
        })
      })
    })
    await notifier.send(notificationOf(now()))
    await notifier.send(notificationOf(now() + 1, 'resolved'))
    await server.count(2)
    expect(server.bodies().map(({ status }) => status)).toEqual(['firing', 'resolved'])
    release()
    await held
    await holding.close()
    await expect.poll(outcomes, { timeout: 20_000 }).toEqual(['delivered', 'delivered'])
    expect(server.received).toHaveLength(2)
  })

  test('without any database', async () => {
    const server = await receiver()
    const gone = openDatabase('postgres://nobody@127.0.0.1:9/none', {
      acquireTimeoutMs: 100,
      queryTimeoutMs: 100,
      log: silentLog,
      clock: systemClock,
    })
    const { notifier } = notify([hook(server)], gone)
    await notifier.send(notificationOf(now()))
    await server.count(1)
    await notifier.stop()
    await gone.close()
  })
})

describe('Slack', () => {
  test('gets text and blocks', async () => {
    const server = await receiver(({ response }) => void response.end('ok'))
    const { notifier } = notify([{ kind: 'slack', name: 'chat', url: server.url }])
    await notifier.send(notificationOf(now()))
    await server.count(1)
    const message = JSON.parse(server.received[0]?.body ?? '')
    expect(message.text).toContain('[FIRING] critical NodeDown')
    expect(message.blocks[0]).toMatchObject({ type: 'header', text: { type: 'plain_text' } })
    expect(message.blocks[1].text).toMatchObject({
      type: 'mrkdwn',
      text: expect.stringContaining('What to do'),
    })
  })
})

describe('mail', () => {
  interface MailServer {
    readonly port: number
    readonly ca: string
    readonly mails: string[]
  }

  let mine: TlsFiles
  beforeAll(async () => {
    mine = await makeCertificates()
  })

  async function mailServer(over: object = {}, files: TlsFiles = mine): Promise<MailServer> {
    const { authority, certificate, key } = files
    const mails: string[] = []
    const server = new SMTPServer({
      key: readFileSync(key),
      cert: readFileSync(certificate),
      authMethods: ['PLAIN', 'LOGIN'],
      onAuth: ({ username, password }, _session, done) =>
        username === 'me' && password === 'geheim'
          ? done(null, { user: 'me' })
          : done(Object.assign(new Error('no'), { responseCode: 535 })),
      onData: (stream, _session, done) => {
        const parts: Buffer[] = []
        stream.on('data', (part: Buffer) => parts.push(part))
        stream.on('end', () => {
          mails.push(Buffer.concat(parts).toString())
          done()
        })
      },
      ...over,
    })
    // A client that leaves in the middle is no failure of the server.
    server.on('error', () => {})
    const listening = server.listen(0, '127.0.0.1')
    await once(listening, 'listening')
    started.push({ stop: () => new Promise<void>((resolve) => server.close(resolve)) })
    return { port: (listening.address() as AddressInfo).port, ca: authority, mails }
  }

  const mailTo = ({ port, ca }: MailServer, over: object = {}) => ({
    kind: 'email',
    name: 'mail',
    host: 'localhost',
    port,
    ca,
    user: 'me',
    password: 'geheim',
    from: 'helixflow@example.com',
    to: ['you@example.com', 'she@example.com'],
    ...over,
  })

  test.each([['starttls', {}] as const, ['tls', { secure: true }] as const])(
    'goes out by %s with a login',
    async (security, over) => {
      const server = await mailServer(over)
      const { notifier } = notify([mailTo(server, { security })])
      await notifier.send(notificationOf(now()))
      await expect.poll(() => server.mails.length).toBe(1)
      await expect.poll(outcomes).toEqual(['delivered'])
      const [mail = ''] = server.mails
      expect(mail).toMatch(/^Subject: \[FIRING\] critical NodeDown/m)
      expect(mail).toMatch(/^To: you@example.com, she@example.com/m)
      expect(mail).toContain('What to do')
    },
  )

  test('is not sent to a server that offers no TLS, nor to one that nobody vouches for', async () => {
    const plain = await mailServer({ disabledCommands: ['STARTTLS'], allowInsecureAuth: true })
    const unknown = await mailServer({}, await makeCertificates())
    const { notifier } = notify([mailTo(plain), mailTo({ ...unknown, ca: plain.ca }, { name: 'unknown' })])
    await expect(notifier.test('mail')).rejects.toMatchObject({ code: 'notification_failed' })
    await expect(notifier.test('unknown')).rejects.toMatchObject({ code: 'notification_failed' })
    expect([...plain.mails, ...unknown.mails]).toEqual([])
  })

  test('a wrong password is told as such, and stands nowhere', async () => {
    const server = await mailServer()
    const { notifier, lines } = notify([mailTo(server, { password: 'ganz-geheim' })])
    await notifier.send(notificationOf(now()))
    await expect.poll(outcomes).toEqual(['refused'])
    const failure = await notifier.test('mail').catch((reason) => reason)
    expect(failure).toMatchObject({
      code: 'notification_failed',
      publicMessage: expect.stringContaining('535'),
    })
    const said = [
      ...lines,
      failure.message,
      failure.publicMessage,
      JSON.stringify(await database.query('select * from notifications')),
    ].join()
    expect(said).toContain('refused')
    expect(said).not.toContain('geheim')
  })
})

test('what receivers were told is listed, the newest first, and what they have yet to be told', async () => {
  const server = await receiver()
  const away = await receiver(answering(503))
  const { notifier } = notify([hook(server), { kind: 'webhook', name: 'away', url: away.url }])
  const outbox = new Outbox(database, systemClock)
  const first = notificationOf(now() - 1_000)
  const second = notificationOf(now())
  await notifier.send(first)
  await notifier.send(second)
  await Promise.all([server.count(2), away.count(1)])
  const facts = async (name: string) =>
    (await outbox.list(10))
      .filter(({ receiver }) => receiver === name)
      .map(({ atMs, outcome }) => [atMs, outcome])
  await expect
    .poll(() => facts('hook'))
    .toEqual([
      [second.atMs, 'delivered'],
      [first.atMs, 'delivered'],
    ])
  expect(await facts('away')).toEqual([
    [second.atMs, undefined],
    [first.atMs, undefined],
  ])
  const [newest] = await outbox.list(1)
  const [alert] = second.alerts
  expect(newest).toMatchObject({
    ...{ alert: alert?.alert, severity: alert?.severity, summary: alert?.summary },
    ...{ status: 'firing', alerts: second.alerts.length, reminder: false },
  })
  expect(await outbox.list(1)).toHaveLength(1)
})

test('a test notification reaches the receiver and is kept nowhere', async () => {
  const server = await receiver()
  const { notifier } = notify([hook(server)])
  await notifier.test('hook')
  expect(server.bodies()[0]).toMatchObject({ status: 'firing', title: expect.stringContaining('test') })
  expect(await outcomes()).toEqual([])
  await expect(notifier.test('nobody')).rejects.toMatchObject({ code: 'not_found' })
  server.answer = answering(500)
  await expect(notifier.test('hook')).rejects.toMatchObject({ code: 'notification_failed', retryable: true })
})
