import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../../src/client/client.ts'
import type { HelixFlowOptions } from '../../../src/client/options.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { fastTime } from '../../support/client-time.ts'
import { ResetProxy } from '../../support/reset-proxy.ts'
import { type Script, ScriptedGateway } from '../../support/scripted-gateway.ts'

const opened: { stop(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.stop()
})

async function start(script: Partial<Script> = {}, options: Partial<HelixFlowOptions> = {}) {
  const gateway = await ScriptedGateway.start({ pieces: () => [], ...script })
  const client = new HelixFlowClient(
    { url: gateway.url, apiKey: 'a key', WebSocket, ...options },
    { time: fastTime(100), random: () => 0.5 },
  )
  opened.push(gateway, { stop: () => client.close() })
  return { gateway, client }
}

const messages = (gateway: ScriptedGateway, type: string) =>
  gateway.received.filter((message) => message.type === type)

test('every update of a log comes once and in order, over connections that are reset at random bytes', async () => {
  const random = seededRandom(11)
  const { gateway } = await start()
  const proxy = await ResetProxy.start(gateway.port, () => 300 + Math.floor(random.uniform() * 4_000))
  opened.push(proxy)
  const client = new HelixFlowClient(
    { url: `http://127.0.0.1:${proxy.port}`, apiKey: 'a key', WebSocket },
    { time: fastTime(100), random: () => random.uniform() },
  )
  opened.push({ stop: () => client.close() })
  const topic = client.subscribe<number>('custom/a')
  await topic.ready
  const log: number[] = []
  gateway.topics.set('custom/a', log)
  const publishing = setInterval(() => {
    log.push(log.length + 1)
    for (const link of gateway.links) link.update('custom/a', log.length, log.length)
  }, 2)
  const seen: number[] = []
  for await (const { seq, data, missed } of topic) {
    expect([seq, missed]).toEqual([data, undefined])
    seen.push(data)
    if (seen.length === 400) break
  }
  clearInterval(publishing)
  expect(seen).toEqual(Array.from({ length: 400 }, (_, index) => index + 1))
  expect(proxy.resets).toBeGreaterThan(5)
})

test('what is published is published once, although the answer was lost', async () => {
  let lost = 0
  const keys = new Set<string>()
  const { client, gateway } = await start({
    intercept: (message, link) => {
      if (message.type !== 'publish') return false
      // What a server does with a key that it knows.
      const known = keys.has(message.key ?? '')
      keys.add(message.key ?? '')
      if (!known && lost++ < 3) {
        gateway.topics.set(message.topic, [...(gateway.topics.get(message.topic) ?? []), message.data])
        link.socket.terminate()
        return true
      }
      if (known)
        link.send({ type: 'ack', id: message.id, seq: gateway.topics.get(message.topic)?.length ?? 0 })
      return known
    },
  })
  for (let index = 1; index <= 5; index++) expect(await client.publish('custom/a', index)).toBe(index)
  expect(gateway.topics.get('custom/a')).toEqual([1, 2, 3, 4, 5])
})

test('two who follow one topic share one subscription, and the last one ends it', async () => {
  const { client, gateway } = await start()
  const [one, two] = [client.subscribe('custom/a'), client.subscribe('custom/a')]
  await Promise.all([one.ready, two.ready])
  expect(messages(gateway, 'subscribe')).toHaveLength(1)
  for (const link of gateway.links) link.update('custom/a', 1, 'x')
  for (const topic of [one, two]) {
    for await (const update of topic) {
      expect(update).toEqual({ topic: 'custom/a', epoch: 'topics', seq: 1, data: 'x', missed: undefined })
      break
    }
  }
  await expect.poll(() => messages(gateway, 'unsubscribe')).toHaveLength(1)
})

test('a second reader of one subscription is refused, and the first goes on', async () => {
  const { client, gateway } = await start()
  const topic = client.subscribe('custom/a')
  await topic.ready
  const first = topic[Symbol.asyncIterator]().next()
  await expect(topic[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'consumed' })
  for (const link of gateway.links) link.update('custom/a', 1, 'x')
  expect(await first).toMatchObject({ done: false, value: { data: 'x' } })
})

test('a subscription that is closed before the server has taken it is ended there', async () => {
  const { client, gateway } = await start({
    intercept: (message, link) => {
      if (message.type !== 'subscribe') return false
      topic.close()
      link.receive(message)
      return true
    },
  })
  const topic = client.subscribe('custom/a')
  await expect(topic.ready).rejects.toMatchObject({ code: 'closed' })
  await expect.poll(() => messages(gateway, 'unsubscribe')).toHaveLength(1)
})

test('a slow reader gets the newest updates, and is told that it missed some', async () => {
  const { client, gateway } = await start({}, { bufferEvents: 4 })
  const topic = client.subscribe<number>('custom/a')
  await topic.ready
  const log = Array.from({ length: 20 }, (_, index) => index + 1)
  for (const link of gateway.links) for (const seq of log) link.update('custom/a', seq, seq)
  // What was sent before it has come when its answer has.
  await client.publish('custom/b', 1)
  const seen: unknown[] = []
  for await (const { data, missed } of topic) {
    seen.push([data, missed])
    if (data === 20) break
  }
  expect(seen).toEqual([
    [17, 'slow'],
    [18, undefined],
    [19, undefined],
    [20, undefined],
  ])
})

test('what the server does not keep any more is said with the next update', async () => {
  const { client, gateway } = await start({
    change: (message) =>
      message.type === 'welcome'
        ? {
            ...message,
            topics: message.topics.map(({ topic }) => ({ topic, recovered: false, reason: 'gap' })),
          }
        : message,
  })
  const topic = client.subscribe('custom/a')
  await topic.ready
  for (const { socket } of gateway.links) socket.terminate()
  await expect.poll(() => messages(gateway, 'hello')).toHaveLength(2)
  await expect.poll(() => client.state).toBe('open')
  for (const link of gateway.links) link.update('custom/a', 9, 'x')
  for await (const update of topic) {
    expect(update).toMatchObject({ seq: 9, missed: 'gap' })
    break
  }
})

test.each(['subscribe', 'welcome', 'later'] as const)(
  'a topic that one may not follow ends: %s',
  async (when) => {
    const error = { message: 'no', type: 'invalid_request_error', param: null } as const
    const refusal = { ...error, code: 'insufficient_permissions' } as const
    const { client, gateway } = await start({
      intercept: (message, link) => {
        if (when !== 'subscribe' || message.type !== 'subscribe') return false
        link.send({ type: 'error', id: message.id, status: 403, error: refusal, retryable: false })
        return true
      },
      change: (message) =>
        message.type === 'welcome'
          ? {
              ...message,
              topics: message.topics.map(({ topic }) => ({ topic, recovered: false, reason: 'forbidden' })),
            }
          : message,
    })
    const topic = client.subscribe('usage')
    const reading = topic[Symbol.asyncIterator]().next()
    reading.catch(() => {})
    if (when !== 'subscribe') {
      await topic.ready
      for (const link of gateway.links) {
        if (when === 'welcome') link.socket.terminate()
        else link.send({ type: 'error', topic: 'usage', status: 403, error: refusal, retryable: false })
      }
    }
    await expect(reading).rejects.toMatchObject({ code: 'insufficient_permissions', status: 403 })
  },
)

test('of a topic whose newest value counts, that value is asked for again until it has come', async () => {
  const { client, gateway } = await start()
  const topic = client.subscribe('models')
  await topic.ready
  for (const { socket } of gateway.links) socket.terminate()
  await expect.poll(() => messages(gateway, 'hello')[1]).toMatchObject({ topics: [{ topic: 'models' }] })
  await expect.poll(() => client.state).toBe('open')
  for (const link of gateway.links) link.update('models', 4, 'x')
  for await (const { seq } of topic) {
    expect(seq).toBe(4)
    for (const { socket } of gateway.links) socket.terminate()
    await expect.poll(() => messages(gateway, 'hello')).toHaveLength(3)
    break
  }
  expect(messages(gateway, 'hello')[2]).toMatchObject({
    topics: [{ topic: 'models', epoch: 'topics', seq: 4 }],
  })
})

test('a broadcast whose answer was lost is not made twice', async () => {
  const { client, gateway } = await start({
    intercept: (message, link) => {
      if (message.type !== 'broadcast') return false
      link.socket.terminate()
      return true
    },
  })
  await expect(client.broadcast('Hi')).rejects.toMatchObject({ code: 'connection_lost' })
  client.connect()
  await expect.poll(() => client.state).toBe('open')
  expect(messages(gateway, 'broadcast')).toHaveLength(1)
})
