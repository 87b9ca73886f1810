import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { parseConfig } from '../../../src/config/schema.ts'
import { silentLog } from '../../../src/core/log.ts'
import { openRedis, type RedisConnection } from '../../../src/redis/connection.ts'
import { withinDeadline } from '../../../src/redis/deadline.ts'
import { systemClock } from '../../../src/system.ts'
import { MetricValues } from '../../support/metric-values.ts'
import { RedisServer } from '../../support/redis.ts'

let server: RedisServer
let redis: RedisConnection
const metrics = new MetricValues()

beforeAll(async () => {
  server = await RedisServer.start()
  redis = openRedis(parseConfig({ redis: { urls: [server.url] } }).redis, silentLog, {
    metrics,
    clock: systemClock,
  })
  await answering()
})
afterAll(async () => {
  await redis.stop()
  await server.stop()
})

function answering(): Promise<unknown> {
  return vi.waitFor(() => redis.client.ping(), { timeout: 5_000, interval: 20 })
}

describe('a Redis that fails', () => {
  test('frozen, it costs a caller the deadline and no more, and late replies reach nobody else', async () => {
    await redis.client.set('a', 'of a')
    await redis.client.set('b', 'of b')
    server.freeze()
    const startMs = performance.now()
    await expect(withinDeadline(systemClock, 25, redis.client.get('a'))).rejects.toMatchObject({
      code: 'storage_unavailable',
    })
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(24)
    server.thaw()
    expect(await redis.client.get('b')).toBe('of b')
  })

  test('gone, it refuses at once; back again, it is found without a restart', async () => {
    await server.kill()
    await vi.waitFor(() => expect(redis.client.status).not.toBe('ready'), { timeout: 10_000 })
    await expect(redis.client.ping()).rejects.toThrow()
    await server.startAgain()
    await answering()
    expect(await redis.client.get('a')).toBeNull()
  })

  test('frozen or gone, it is not up; that it was gone is counted', async () => {
    const soon = { timeout: 10_000, interval: 20 }
    const up = () => metrics.value('helixflow_redis_up')
    const reconnects = () => metrics.value('helixflow_redis_reconnects_total') ?? 0
    await expect.poll(up, soon).toBe(1)
    server.freeze()
    await expect.poll(up, soon).toBe(0)
    server.thaw()
    await expect.poll(up, soon).toBe(1)
    const before = reconnects()
    await server.kill()
    await expect.poll(up, soon).toBe(0)
    await server.startAgain()
    await expect.poll(up, soon).toBe(1)
    expect(reconnects()).toBe(before + 1)
  })
})
