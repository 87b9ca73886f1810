import { expect, onTestFinished, test } from 'vitest'
import type { AlertView } from '../../src/contracts/monitor.ts'
import { signatureOf } from '../../src/monitor/notify/signature.ts'
import { helixflow } from '../support/helixflow.ts'
import { ReceiverServer } from '../support/receiver-server.ts'
import { RedisServer } from '../support/redis.ts'
import { type Server, startServer } from '../support/server.ts'

const SECRET = 'of this test alone'

async function stateOf(server: Server, name: string): Promise<string | undefined> {
  const { out } = await helixflow(server, 'alerts', 'list', '--json')
  const alerts = JSON.parse(out) as readonly AlertView[]
  return alerts.find(({ alert }) => alert === name)?.state
}

test('a Redis that stands still is an alert that pends, fires, is told with a signature, ends, and is told again', async () => {
  const receiver = await ReceiverServer.start()
  onTestFinished(() => receiver.stop())
  const redis = await RedisServer.start()
  onTestFinished(() => redis.stop())
  const receivers = [
    { kind: 'webhook', name: 'on-call', url: receiver.url, secret: SECRET, alerts: ['RedisDown'] },
  ]
  const server = await startServer({
    config: { redis: { urls: [redis.url] }, monitor: { interval: '500ms', receivers } },
  })
  onTestFinished(async () => void (await server.stop()))
  await expect.poll(() => stateOf(server, 'RedisDown')).toBeUndefined()

  redis.freeze()
  await expect.poll(() => stateOf(server, 'RedisDown'), { timeout: 30_000 }).toBe('pending')
  await expect.poll(() => stateOf(server, 'RedisDown'), { timeout: 90_000 }).toBe('firing')
  await receiver.count(1)
  redis.thaw()
  await expect.poll(() => stateOf(server, 'RedisDown'), { timeout: 180_000 }).toBe('resolved')
  await expect.poll(() => receiver.bodies().at(-1)?.status, { timeout: 60_000 }).toBe('resolved')

  expect(receiver.bodies().map(({ status }) => status)).toEqual(['firing', 'resolved'])
  for (const { headers, body } of receiver.received) {
    const timestamp = Number(headers['x-helixflow-timestamp'])
    expect(headers['x-helixflow-signature']).toBe(signatureOf(SECRET, timestamp, body))
    expect(body).toContain('RedisDown')
  }
})
