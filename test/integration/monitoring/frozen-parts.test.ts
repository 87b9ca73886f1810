import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startMonitor } from '../../../src/cli/open-monitor.ts'
import { loadSettings } from '../../../src/config/load.ts'
import { Lifecycle } from '../../../src/core/lifecycle.ts'
import { silentLog } from '../../../src/core/log.ts'
import { MetricRegistry } from '../../../src/metrics/registry.ts'
import type { Monitor } from '../../../src/monitor/monitor.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { systemClock } from '../../../src/system.ts'
import { fastClock } from '../../support/fast-clock.ts'
import { helixflow } from '../../support/helixflow.ts'
import { childrenOf, processesWith } from '../../support/processes.ts'
import { type Received, ReceiverServer } from '../../support/receiver-server.ts'
import { RedisServer } from '../../support/redis.ts'
import { type Server, startServer } from '../../support/server.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const SECRET = 'a-secret-of-the-receiver'
/** A minute of the monitor is two seconds here: alerts pend for one or two, and fire on for two after the trouble. */
const SPEED = 30
const SOON = { timeout: 40_000, interval: 100 }

let place: DatabasePlace
let postgres: EmbeddedPostgres
let redis: RedisServer
let receiver: ReceiverServer
let server: Server
let monitor: Monitor
const lifecycle = new Lifecycle(silentLog)
const frozen = new Set<number>()

beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  await migrate({ connection: postgres.connection, log: silentLog, clock: systemClock })
  redis = await RedisServer.start()
  receiver = await ReceiverServer.start()
  server = await startServer({
    config: {
      database: { driver: 'postgres', url: urlOf(postgres), queryTimeout: '2s' },
      redis: { urls: [redis.url] },
      gateway: { canaryInterval: '300ms' },
      // That the engine stands still is for the test generation to find out.
      engines: { stuckTimeout: '10m', probeTimeout: '1m' },
      monitor: { enabled: false },
    },
  })
  monitor = startMonitor(
    {
      settings: loadSettings({
        configPath: join(server.home, 'test.yaml'),
        home: server.home,
        flags: {
          'monitor.interval': '5s',
          'monitor.targets': [{ url: server.metricsUrl, role: 'all' }],
          'monitor.receivers': [
            { kind: 'webhook', name: 'hook', url: receiver.url, secret: SECRET, severities: ['critical'] },
          ],
        },
      }),
      metrics: { registry: new MetricRegistry(), url: undefined },
      role: 'monitor',
      log: silentLog,
      clock: fastClock(SPEED),
      lifecycle,
    },
    postgres.connection,
  )
})
afterEach(thaw)
afterAll(async () => {
  await lifecycle.stop()
  await server?.stop()
  await receiver?.stop()
  await redis?.stop()
  await postgres?.stop()
  await place?.remove()
})

test('at first all is well', async () => {
  await expect.poll(() => monitor.works, SOON).toBe(true)
  await isHealthy()
  await expect.poll(async () => (await componentsOf()).includes('model'), SOON).toBe(true)
})

describe.each([
  {
    what: 'the database',
    alert: 'DatabaseDown',
    verdict: 'failed',
    reason: /database primary: it does not answer/,
    pids: () => withChildren(processesWith(`-D ${place.directory}`)),
    // Nobody who is known needs the database.
    meanwhile: async () => expect((await helixflow(server, 'keys', 'list')).code).toBe(1),
  },
  {
    what: 'Redis',
    alert: 'RedisDown',
    verdict: 'degraded',
    reason: /redis redis: it does not answer/,
    pids: () => [redis.pid],
  },
  {
    what: 'an engine',
    alert: 'CanaryFailing',
    verdict: 'degraded',
    reason: /model tiny: a replica did not answer its test generation/,
    pids: () => processesWith(`${server.home}/models/tiny.gguf`),
  },
  {
    what: 'the whole process',
    alert: 'ServiceDown',
    verdict: 'failed',
    reason: /service all .*: its metrics cannot be read: it does not answer in time/,
    pids: () => [server.pid],
  },
])('while $what stands still', ({ alert, verdict, reason, pids, meanwhile }) => {
  test('the verdict says so, an alert pends, fires and is told, and its end too', async () => {
    const told = receiver.received.length
    freeze(pids())
    const asked = meanwhile?.()
    await expect.poll(() => statesOf(alert), SOON).toEqual(['pending'])
    await expect.poll(async () => (await monitor.health()).reasons.join('\n'), SOON).toMatch(reason)
    expect((await monitor.health()).verdict).toBe(verdict)
    await expect.poll(() => statesOf(alert), SOON).toEqual(['firing'])
    await expect.poll(() => toldSince(told), SOON).toEqual([`${alert} firing`])
    await asked
    thaw()
    await isHealthy()
    await expect.poll(() => statesOf(alert), SOON).toEqual(['resolved'])
    await expect.poll(() => toldSince(told), SOON).toEqual([`${alert} firing`, `${alert} resolved`])
    expect(receiver.received.filter((one) => !isSigned(one))).toEqual([])
  })
})

test('what failed meanwhile was counted', async () => {
  const text = await (await fetch(server.metricsUrl)).text()
  expect(text).toMatch(/^helixflow_db_failures_total\{code="\w+"\} [1-9]/m)
  expect(text).toMatch(/^helixflow_canary_failures_total\{model="tiny"\} [1-9]/m)
})

function freeze(pids: readonly number[]): void {
  expect(pids).not.toEqual([])
  for (const pid of pids) {
    process.kill(pid, 'SIGSTOP')
    frozen.add(pid)
  }
}

function thaw(): void {
  for (const pid of frozen) process.kill(pid, 'SIGCONT')
  frozen.clear()
}

/** The first of them begins the others. */
function withChildren([first]: readonly number[]): readonly number[] {
  return first === undefined ? [] : [first, ...childrenOf(first)]
}

function isHealthy(): Promise<void> {
  return expect
    .poll(async () => {
      const { verdict, reasons } = await monitor.health()
      return { verdict, reasons }
    }, SOON)
    .toEqual({ verdict: 'healthy', reasons: [] })
}

async function componentsOf(): Promise<readonly string[]> {
  return (await monitor.health()).components.map(({ kind }) => kind)
}

async function statesOf(alert: string): Promise<readonly string[]> {
  const alerts = await monitor.alerts()
  return alerts.filter((one) => one.alert === alert).map(({ state }) => state)
}

function toldSince(count: number): readonly string[] {
  return receiver.received.slice(count).map(({ body }) => {
    const { status, group } = JSON.parse(body) as { status: string; group: { alert: string } }
    return `${group.alert} ${status}`
  })
}

/** As docs/notifications.md has receivers do it. */
function isSigned({ headers, body }: Received): boolean {
  const timestamp = String(headers['x-helixflow-timestamp'])
  const expected = createHmac('sha256', SECRET).update(`${timestamp}.${body}`).digest('hex')
  return (
    Math.abs(Date.now() / 1000 - Number(timestamp)) < 300 &&
    headers['x-helixflow-signature'] === `sha256=${expected}`
  )
}

function urlOf({ connection: { host, user, password, database } }: EmbeddedPostgres): string {
  const [name, secret] = [user, password].map((part) => encodeURIComponent(String(part)))
  return `postgres://${name}:${secret}@${encodeURIComponent(String(host))}/${database}`
}
