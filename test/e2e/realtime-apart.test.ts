import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../src/client/index.ts'
import { ApartPlatform, killGateway } from '../support/apart-platform.ts'
import { helixflow } from '../support/helixflow.ts'
import { type NumberedEngine, startNumberedEngine, textOf } from '../support/numbered-engine.ts'
import { ResetProxy } from '../support/reset-proxy.ts'
import type { Server } from '../support/server.ts'

const PIECES = 60

let slow: NumberedEngine
let platform: ApartPlatform
let opened: { close(): Promise<void> | void }[] = []

beforeAll(async () => {
  slow = await startNumberedEngine({ pieces: PIECES, everyMs: 40 })
  const far = { name: 'far', url: slow.url, models: ['far'], slots: 64, continues: true }
  const whole = { name: 'whole', url: slow.url, models: ['whole'], slots: 64 }
  platform = await ApartPlatform.start(3, { model: null, models: {}, config: { upstreams: [far, whole] } })
})
afterEach(async () => {
  for (const one of opened) await one.close()
  opened = []
})
afterAll(async () => {
  await platform?.stop()
  slow?.stop()
})

function gateway(number: number): Server {
  const found = platform.gateways[number]
  if (!found) throw new Error('no such gateway')
  return found
}

function clientOf(origin: string): HelixFlowClient {
  const client = new HelixFlowClient({ url: origin, apiKey: platform.apiKey, WebSocket })
  opened.push(client)
  return client
}

function ask(client: HelixFlowClient, label: string, change: object = {}) {
  return client.chat({ model: 'far', messages: [{ role: 'user', content: label }], ...change })
}

test('what one gateway makes is read at another while it is made, and ended from there', async () => {
  const [first, second] = [clientOf(gateway(0).origin), clientOf(gateway(1).origin)]
  const mine = ask(first, 'cancelled')
  const failed = mine.result.catch((error: unknown) => error)
  for await (const event of mine) if (event.seq >= 5) break
  expect(await failed).toMatchObject({ code: 'cancelled' })

  const other = ask(first, 'shared')
  await expect.poll(() => other.position?.seq ?? 0).toBeGreaterThan(5)
  const { stream = '', epoch = '' } = other.position ?? {}
  const follower = second.attachChat({ stream, epoch, seq: 0 })
  expect((await follower.result).text).toBe(textOf('shared', PIECES))
  expect((await other.result).text).toBe(textOf('shared', PIECES))
})

test('topics reach who follows them at any gateway, and so does what the operator says', async () => {
  const [first, second] = [clientOf(gateway(0).origin), clientOf(gateway(1).origin)]
  const heard: string[] = []
  second.on('notice', ({ message }) => heard.push(message))
  const updates = second.subscribe('custom/together')[Symbol.asyncIterator]()
  const next = updates.next()
  // Whoever follows from here on hears what is published from here on, and when that is nobody has said.
  const publishing = setInterval(() => void first.publish('custom/together', { n: 1 }), 100)
  expect((await next).value).toMatchObject({ data: { n: 1 } })
  clearInterval(publishing)
  expect((await helixflow(gateway(2), 'broadcast', 'maintenance at noon')).code).toBe(0)
  await expect.poll(() => heard).toEqual(['maintenance at noon'])
  await updates.return?.()
})

test.each([
  ['goes on with a text', 'far', {}],
  ['says the same again', 'whole', { temperature: 0 }],
])(
  'the gateway that makes a stream is killed: another brings the rest, of an engine that %s',
  async (_how, model, change) => {
    const victim = await platform.add()
    const proxy = await ResetProxy.start(Number(new URL(victim.origin).port))
    opened.push({ close: () => proxy.stop() })
    const client = clientOf(`http://127.0.0.1:${proxy.port}`)
    const label = `killed-${model}`
    const stream = ask(client, label, { model, ...change })
    await expect.poll(() => stream.position?.seq ?? 0).toBeGreaterThan(10)
    const before = await slow.asked()
    proxy.targetPort = Number(new URL(gateway(1).origin).port)
    await killGateway(victim)
    const { text, usage } = await stream.result
    // The client has compared the hash of it with what the gateways say.
    expect(text).toBe(textOf(label, PIECES))
    expect(usage).toMatchObject({ completion_tokens: PIECES, total_tokens: PIECES + 3 })
    expect(await slow.asked()).toBe(before + 1)
  },
)

test('where an engine can do neither, the stream says that its rest is lost', async () => {
  const victim = await platform.add()
  const proxy = await ResetProxy.start(Number(new URL(victim.origin).port))
  opened.push({ close: () => proxy.stop() })
  const client = clientOf(`http://127.0.0.1:${proxy.port}`)
  const stream = ask(client, 'lost', { model: 'whole', temperature: 1 })
  const failed = stream.result.catch((error: unknown) => error)
  await expect.poll(() => stream.position?.seq ?? 0).toBeGreaterThan(10)
  proxy.targetPort = Number(new URL(gateway(1).origin).port)
  await killGateway(victim)
  expect(await failed).toMatchObject({ code: 'engine_failed', retryable: false })
})

test('sockets of a gateway that is killed go on at another, and what they read is whole', async () => {
  const victim = await platform.add()
  const proxy = await ResetProxy.start(Number(new URL(victim.origin).port))
  opened.push({ close: () => proxy.stop() })
  const makers = clientOf(gateway(0).origin)
  const labels = Array.from({ length: 12 }, (_, at) => `read-${at}`)
  const made = labels.map((label) => ask(makers, label))
  await expect.poll(() => made.every(({ position }) => (position?.seq ?? 0) > 3)).toBe(true)
  const readers = clientOf(`http://127.0.0.1:${proxy.port}`)
  const read = made.map(({ position }) =>
    readers.attachChat({ ...position, stream: position?.stream ?? '', epoch: position?.epoch ?? '', seq: 0 }),
  )
  await expect.poll(() => read.every(({ position }) => (position?.seq ?? 0) > 10)).toBe(true)
  proxy.targetPort = Number(new URL(gateway(1).origin).port)
  await killGateway(victim)
  for (const [at, stream] of read.entries())
    expect((await stream.result).text).toBe(textOf(labels[at] ?? '', PIECES))
  for (const stream of made) await stream.result
})

test('while Redis is away a stream goes on at its gateway, also for who follows a topic that cannot be', async () => {
  const proxy = await ResetProxy.start(Number(new URL(gateway(0).origin).port))
  opened.push({ close: () => proxy.stop() })
  const client = clientOf(`http://127.0.0.1:${proxy.port}`)
  const heard: unknown[] = []
  void (async () => {
    for await (const { data } of client.subscribe('custom/away')) heard.push(data)
  })()
  const stream = ask(client, 'away')
  await expect.poll(() => stream.position?.seq ?? 0).toBeGreaterThan(5)
  await platform.redis.kill()
  proxy.resetAll()
  expect((await stream.result).text).toBe(textOf('away', PIECES))
  await platform.redis.startAgain()
  const publishing = setInterval(() => {
    client.publish('custom/away', 'back').catch(() => {})
  }, 200)
  await expect.poll(() => heard.length, { timeout: 20_000 }).toBeGreaterThan(0)
  clearInterval(publishing)
})

test('a response in the background is told of to its project at every gateway', async () => {
  const follower = clientOf(gateway(1).origin)
  const told: unknown[] = []
  const following = (async () => {
    for await (const { data } of follower.subscribe('jobs')) {
      const { status } = data as { readonly status: string }
      told.push(status)
      if (status === 'completed') return
    }
  })()
  await expect.poll(() => follower.state).toBe('open')
  // Who begins to follow hears what comes after that; only an answer says that it has begun.
  await follower.publish('custom/any', 0)
  const { id } = await inBackground(gateway(0), 'far', 'news')
  await following
  expect(told).toEqual(['queued', 'in_progress', 'completed'])
  expect(await responseOf(gateway(1), id)).toMatchObject({ status: 'completed' })
})

test('a response in the background outlives its gateway when somebody follows it elsewhere', async () => {
  const victim = await platform.add()
  const { id } = await inBackground(victim, 'far', 'heir')
  const reading = await fetch(`${gateway(1).url}/responses/${id}?stream=true`, { headers: headers() })
  await killGateway(victim)
  const events = (await reading.text()).split('\n\n').flatMap((event) => {
    const [, data] = /^data: (.*)$/m.exec(event) ?? []
    return data === undefined ? [] : [JSON.parse(data) as Record<string, unknown>]
  })
  expect(events.map((event) => event['sequence_number'])).toEqual(events.map((_, at) => at))
  expect(events.at(-1)).toMatchObject({ type: 'response.completed' })
  const text = events.flatMap((event) =>
    event['type'] === 'response.output_text.delta' ? [event['delta']] : [],
  )
  expect(text.join('')).toBe(textOf('heir', PIECES))
  const output = [{ content: [{ text: textOf('heir', PIECES) }] }]
  expect(await responseOf(gateway(0), id)).toMatchObject({ status: 'completed', output })
})

function headers(): Record<string, string> {
  return { authorization: `Bearer ${platform.apiKey}`, 'content-type': 'application/json' }
}

async function inBackground(server: Server, model: string, input: string): Promise<{ readonly id: string }> {
  const body = JSON.stringify({ model, input, background: true })
  const answer = await fetch(`${server.url}/responses`, { method: 'POST', headers: headers(), body })
  return (await answer.json()) as { readonly id: string }
}

async function responseOf(server: Server, id: string): Promise<unknown> {
  return (await fetch(`${server.url}/responses/${id}`, { headers: headers() })).json()
}
