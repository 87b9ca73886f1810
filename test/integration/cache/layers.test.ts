import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { noCacheMetrics } from '../../../src/cache/cache-metrics.ts'
import { type CachedAnswer, encodeAnswer } from '../../../src/cache/cached-answer.ts'
import { ALL, Invalidations } from '../../../src/cache/invalidations.ts'
import { LayeredCache } from '../../../src/cache/layered-cache.ts'
import { boundedMap, MemoryLayer } from '../../../src/cache/memory-layer.ts'
import { RedisLayer } from '../../../src/cache/redis-layer.ts'
import { silentLog } from '../../../src/core/log.ts'
import { openRedis, type RedisConnection } from '../../../src/redis/connection.ts'
import { systemClock } from '../../../src/system.ts'
import { RedisServer } from '../../support/redis.ts'

let server: RedisServer
let opened: Gateway[]
beforeAll(async () => {
  server = await RedisServer.start()
})
afterAll(() => server.stop())
beforeEach(async () => {
  opened = []
  await server.command('FLUSHALL')
})
afterEach(async () => {
  for (const { cache, redis } of opened) {
    await cache.stop()
    await redis?.stop()
  }
})

/** What one gateway has of the cache. */
interface Gateway {
  readonly cache: LayeredCache
  readonly memory: MemoryLayer
  readonly redis: RedisConnection | undefined
}

async function gateway(shared: boolean, timeoutMs = 1_000): Promise<Gateway> {
  const memory = new MemoryLayer(boundedMap(2 ** 20))
  const invalidations = new Invalidations()
  const common = { memory, invalidations, clock: systemClock, metrics: noCacheMetrics }
  if (!shared) {
    const one = { cache: new LayeredCache({ ...common, shared: undefined }), memory, redis: undefined }
    opened.push(one)
    return one
  }
  const config = {
    urls: [server.url],
    mode: 'single' as const,
    sentinelName: 'x',
    prefix: 'test',
    timeout: timeoutMs,
  }
  const redis = openRedis(config, silentLog)
  const subscriber = redis.subscriber()
  const layer = new RedisLayer({ ...common, client: redis.client, subscriber, prefix: 'test', timeoutMs })
  const one = { cache: new LayeredCache({ ...common, shared: layer }), memory, redis }
  opened.push(one)
  await eventually(() => redis.client.status === 'ready' && subscriber.status === 'ready')
  await eventually(async () =>
    (await server.command('PUBSUB', 'NUMSUB', 'test:cache:invalidated')).includes(`${sharing()}`),
  )
  return one
}

const sharing = () => opened.filter(({ redis }) => redis).length

async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve))
}

let number = 0
function answer(change: Partial<CachedAnswer> = {}): CachedAnswer {
  return {
    tenant: 'a',
    names: ['model:m', 'tag:x'],
    epoch: 0,
    storedAtMs: systemClock.now(),
    ttlMs: 60_000,
    staleMs: 0,
    form: 'whole',
    usage: undefined,
    body: Buffer.from(`answer ${++number}`),
    ...change,
  }
}

const text = async (one: Gateway, tenant = 'a') => (await one.cache.get(tenant, 'k'))?.body.toString()

/** Both layers give what they were given by the same rules; from Redis, a second gateway reads what a first one kept. */
describe.each(['memory', 'redis'])('%s', (layer) => {
  let writer: Gateway
  let reader: Gateway
  beforeEach(async () => {
    writer = await gateway(layer === 'redis')
    reader = layer === 'redis' ? await gateway(true) : writer
  })

  async function keep(change: Partial<CachedAnswer> = {}): Promise<string> {
    const kept = answer({ epoch: writer.cache.epoch('a'), ...change })
    writer.cache.set('a', 'k', kept)
    if (layer === 'redis')
      await eventually(async () => (await server.command('EXISTS', 'test:cache:{a}:answer:k')).includes('1'))
    return kept.body.toString()
  }

  test('gives what it was given, to its tenant', async () => {
    const kept = await keep()
    expect(await text(reader)).toBe(kept)
    expect(await text(reader, 'b')).toBeUndefined()
  })

  test('gives nothing that its time is over of', async () => {
    writer.cache.set('a', 'k', answer({ storedAtMs: systemClock.now() - 60_001 }))
    expect(await text(reader)).toBeUndefined()
    // Long enough for a busy machine to keep it before it is over.
    await keep({ ttlMs: 1_000 })
    await new Promise((resolve) => setTimeout(resolve, 1_010))
    expect(await text(reader)).toBeUndefined()
  })

  test.each([['tag:x'], ['model:m'], [ALL]])(
    'gives nothing that was invalidated as %s, and what was made after it',
    async (name) => {
      await keep()
      await reader.cache.invalidate('a', ['tag:other'])
      expect(await text(reader)).toBeDefined()
      await reader.cache.invalidate('a', [name])
      expect(await text(reader)).toBeUndefined()
      const epoch = reader.cache.epoch('a')
      await eventually(() => writer.cache.epoch('a') === epoch)
      expect(await text(writer)).toBeUndefined()
      const kept = await keep()
      expect(await text(reader)).toBe(kept)
    },
  )

  test('keeps nothing that was on its way during an invalidation', async () => {
    await text(writer)
    const epoch = writer.cache.epoch('a')
    await reader.cache.invalidate('a', ['tag:x'])
    await text(writer)
    writer.cache.set('a', 'k', answer({ epoch }))
    expect(await text(writer)).toBeUndefined()
    expect(await text(reader)).toBeUndefined()
  })
})

describe('gateways that share a Redis', () => {
  test('drop from memory what another one invalidated, on the message alone', async () => {
    const [one, other] = [await gateway(true), await gateway(true)]
    one.cache.set('a', 'k', answer())
    expect(one.cache.isCurrent('a', ['tag:x'], 0)).toBe(true)
    await other.cache.invalidate('a', ['tag:x'])
    await eventually(() => !one.cache.isCurrent('a', ['tag:x'], 0))
    expect(await text(one)).toBeUndefined()
  })

  test('learn at the next reading what they were not told', async () => {
    const one = await gateway(true)
    one.cache.set('a', 'k', answer())
    await eventually(async () => (await server.command('EXISTS', 'test:cache:{a}:answer:k')).includes('1'))
    const later = await gateway(true)
    const last = await gateway(true)
    await later.cache.invalidate('a', ['tag:x'])
    await later.cache.invalidate('a', ['tag:y'])
    // A gateway that starts now has heard of neither.
    const started = await gateway(true)
    expect(await text(started)).toBeUndefined()
    expect(started.cache.isCurrent('a', ['tag:y'], 0)).toBe(false)
    await eventually(() => last.cache.epoch('a') === later.cache.epoch('a'))
  })

  test('trust no answer that is older than the oldest invalidation on record', async () => {
    const one = await gateway(true)
    await one.cache.invalidate('a', ['tag:x'])
    for (let at = 0; at < 11; at++)
      await one.cache.invalidate(
        'a',
        Array.from({ length: 100 }, (_, name) => `tag:${at}-${name}`),
      )
    const late = await gateway(true)
    await text(late)
    expect(late.cache.isCurrent('a', ['tag:x'], 0)).toBe(false)
    expect(late.cache.isCurrent('a', ['tag:x'], late.cache.epoch('a'))).toBe(true)
  })

  test("refuse what was planted: another tenant's answer, damage, an unknown version", async () => {
    const one = await gateway(true)
    const client = one.redis?.client
    const plant = (bytes: Buffer) => client?.set('test:cache:{a}:answer:k', bytes)
    await plant(encodeAnswer(answer()))
    expect(await text(one)).toBeDefined()
    one.memory.clear()
    await plant(encodeAnswer(answer({ tenant: 'b' })))
    expect(await text(one)).toBeUndefined()
    const damaged = encodeAnswer(answer())
    damaged[20] = (damaged[20] ?? 0) ^ 1
    await plant(damaged)
    expect(await text(one)).toBeUndefined()
    const foreign = encodeAnswer(answer())
    foreign[0] = 9
    await plant(foreign)
    expect(await text(one)).toBeUndefined()
  })
})

describe('a Redis that fails', () => {
  test('and is frozen costs its timeout once, and then nothing for a while', async () => {
    const one = await gateway(true, 25)
    server.freeze()
    try {
      const startedMs = performance.now()
      expect(await text(one)).toBeUndefined()
      const firstMs = performance.now() - startedMs
      for (let at = 0; at < 100; at++) expect(await text(one)).toBeUndefined()
      expect(performance.now() - startedMs).toBeLessThan(Math.max(500, 3 * firstMs))
      one.cache.set('a', 'k', answer())
      expect(await text(one)).toBeDefined()
    } finally {
      server.thaw()
    }
  })

  test("is nobody's failure but that of an invalidation, which holds here all the same", async () => {
    const one = await gateway(true)
    one.cache.set('a', 'k', answer())
    await server.kill()
    try {
      await eventually(() => one.memory.entries === 0)
      one.cache.set('a', 'k', answer())
      expect(await text(one)).toBeDefined()
      await expect(one.cache.invalidate('a', ['tag:x'])).rejects.toMatchObject({
        code: 'storage_unavailable',
      })
      expect(await text(one)).toBeUndefined()
      one.cache.set('a', 'k', answer({ epoch: one.cache.epoch('a') }))
      expect(await text(one)).toBeDefined()
    } finally {
      await server.startAgain()
    }
  })

  test('and comes back empty is used again, and its invalidations hold', async () => {
    const one = await gateway(true)
    await one.cache.invalidate('a', ['tag:x'])
    await server.startAgain()
    await eventually(async () =>
      (await server.command('PUBSUB', 'NUMSUB', 'test:cache:invalidated')).includes('1'),
    )
    await eventually(() => one.redis?.client.status === 'ready')
    const kept = answer({ epoch: one.cache.epoch('a') })
    one.cache.set('a', 'k', kept)
    expect(await text(one)).toBe(kept.body.toString())
    await one.cache.invalidate('a', ['tag:x'])
    expect(await text(one)).toBeUndefined()
  })
})
