import { setImmediate } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../../src/client/client.ts'
import type { HelixFlowError } from '../../../src/client/helix-flow-error.ts'
import type { HelixFlowOptions } from '../../../src/client/options.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { fastTime } from '../../support/client-time.ts'
import { type Script, ScriptedGateway } from '../../support/scripted-gateway.ts'

const question = { model: 'scripted', messages: [{ role: 'user' as const, content: 'Hello' }] }
const opened: { stop(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.stop()
})

async function start(
  script: Partial<Script> = {},
  options: Partial<HelixFlowOptions> = {},
  time = fastTime(100),
) {
  const gateway = await ScriptedGateway.start({ pieces: () => ['Hel', 'lo'], ...script })
  const client = new HelixFlowClient(
    { url: gateway.url, apiKey: 'a key', WebSocket, ...options },
    { time, random: () => 0.5 },
  )
  const states: string[] = []
  client.on('state', (state) => states.push(state))
  opened.push(gateway, { stop: () => client.close() })
  return { gateway, client, states }
}

const messages = (gateway: ScriptedGateway, type: string) =>
  gateway.received.filter((message) => message.type === type)

test('there is no connection before it is needed, and one afterwards', async () => {
  const { client, gateway, states } = await start()
  expect([client.state, gateway.handshakes]).toEqual(['idle', 0])
  await client.chat(question).result
  expect(states).toEqual(['connecting', 'open'])
  await Promise.all([client.close(), client.close()])
  await client.close()
  expect(client.state).toBe('closed')
  await expect.poll(() => gateway.links.size).toBe(0)
})

test('a connection that ends while nothing goes on is not made anew before it is needed', async () => {
  const { client, gateway } = await start()
  await client.chat(question).result
  for (const { socket } of gateway.links) socket.close(1001, 'idle')
  await expect.poll(() => client.state).toBe('idle')
  expect((await client.chat(question).result).text).toBe('Hello')
  expect(gateway.handshakes).toBe(2)
})

test('connect keeps one although nothing goes on', async () => {
  const { client, gateway } = await start()
  client.connect()
  await expect.poll(() => client.state).toBe('open')
  for (const { socket } of gateway.links) socket.terminate()
  await expect.poll(() => gateway.handshakes).toBe(2)
  const notices: unknown[] = []
  client.on('notice', (notice) => notices.push(notice))
  await expect.poll(() => client.state).toBe('open')
  for (const link of gateway.links)
    link.send({ type: 'notice', message: 'Hi', level: 'info', from: 'operator' })
  await expect.poll(() => notices).toEqual([{ message: 'Hi', level: 'info', from: 'operator' }])
})

describe('a close that is final ends everything with its reason, and the next call tries anew', () => {
  test.each([
    [1008, 'api_key_revoked', 'api_key_revoked'],
    [1009, '', 'connection_refused'],
    [4401, 'token_expired', 'token_expired'],
    [4429, '', 'connection_limit_exceeded'],
  ])('%i %s', async (code, reason, expected) => {
    let closes = 0
    const { client } = await start({
      intercept: (message, link) => {
        if (message.type !== 'chat.create' || closes++ > 0) return false
        link.socket.close(code, reason)
        return true
      },
    })
    const failures: HelixFlowError[] = []
    client.on('failure', (failure) => failures.push(failure))
    const topic = client.subscribe('models')
    await expect(client.chat(question).result).rejects.toMatchObject({ code: expected, retryable: false })
    await expect(topic[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: expected })
    expect(failures.map((one) => one.code)).toEqual([expected])
    expect((await client.chat(question).result).text).toBe('Hello')
  })
})

describe('a handshake that is refused', () => {
  test.each([
    [401, 'invalid_api_key'],
    [403, 'ip_not_authorized'],
    [404, 'unknown_url'],
  ])('with %i %s is final: the address says so without the upgrade', async (status, code) => {
    const { client, gateway } = await start({ refuse: () => ({ status, code }) })
    await expect(client.chat(question).result).rejects.toMatchObject({ code, status, retryable: false })
    expect(gateway.handshakes).toBe(1)
  })

  test('with 503 is tried again', async () => {
    let refusals = 3
    const { client, gateway } = await start({
      refuse: ({ headers }) => {
        if (refusals <= 0) return undefined
        if (headers.upgrade !== undefined) refusals--
        return { status: 503, code: 'server_draining' }
      },
    })
    expect((await client.chat(question).result).text).toBe('Hello')
    expect(gateway.handshakes).toBe(4)
  })

  test('by a server that is away is tried again, also where the key cannot be had meanwhile', async () => {
    let refusals = 2
    let asked = 0
    const { client } = await start(
      {
        refuse: ({ headers }) => (headers.upgrade && refusals-- > 0 ? { status: 503, code: 'x' } : undefined),
      },
      {
        apiKey: async () => {
          // The second time to ask why the handshake was refused.
          if (++asked === 2) throw new Error('no key')
          return 'a key'
        },
      },
    )
    expect((await client.chat(question).result).text).toBe('Hello')
    expect(asked).toBeGreaterThan(2)
  })
})

test('without a server streams and requests fail in time, and topics wait', async () => {
  const { client, gateway } = await start(
    { refuse: () => ({ status: 503, code: 'x' }) },
    { giveUpMs: 20_000 },
  )
  const topic = client.subscribe('models')
  const failures: unknown[] = []
  client.on('failure', (failure) => failures.push(failure))
  await expect(client.chat(question).result).rejects.toMatchObject({ code: 'unreachable', retryable: true })
  await expect(client.publish('custom/a', 1)).rejects.toMatchObject({ code: 'unreachable', retryable: true })
  expect(failures).toEqual([])
  const before = gateway.handshakes
  await expect.poll(() => gateway.handshakes).toBeGreaterThan(before + 2)
  topic.close()
})

test('a client that is closed asks for no key any more, although the one that it asked for cannot be had', async () => {
  const time = new ManualClock()
  let asked = 0
  let refuse = () => {}
  const apiKey = () =>
    new Promise<string>((_, reject) => {
      asked++
      refuse = () => reject(new Error('no key'))
    })
  const options = { url: 'http://127.0.0.1:9', apiKey, WebSocket }
  const client = new HelixFlowClient(options, { time, random: () => 0.5 })
  client.connect()
  await client.close()
  refuse()
  await setImmediate()
  time.advance(10_000)
  expect(asked).toBe(1)
})

test('what cannot be sent yet is kept up to 1 MiB, then refused', async () => {
  const { client } = await start({ refuse: () => ({ status: 503, code: 'x' }) })
  const data = 'a'.repeat(300_000)
  const waiting = Array.from({ length: 3 }, () => client.publish('custom/a', data).catch((reason) => reason))
  await expect(client.publish('custom/a', data)).rejects.toMatchObject({
    code: 'queue_full',
    retryable: true,
  })
  await expect(
    client.chat({ ...question, messages: [{ role: 'user', content: data }] }).result,
  ).rejects.toMatchObject({ code: 'queue_full' })
  await client.close()
  for (const one of waiting) expect(await one).toMatchObject({ code: 'closed' })
})

test('waits for as long as a draining server asks', async () => {
  const clock = new ManualClock()
  const { client, gateway, states } = await start({}, {}, clockTime(clock))
  client.connect()
  await expect.poll(() => states.at(-1)).toBe('open')
  for (const link of gateway.links) {
    link.send({ type: 'server.draining', deadline_ms: 9_000, reconnect_after_ms: 4_321 })
    link.socket.close(1012, 'server_draining')
  }
  await expect.poll(() => states.at(-1)).toBe('waiting')
  clock.advance(4_320)
  expect(states.at(-1)).toBe('waiting')
  clock.advance(1)
  await expect.poll(() => states.at(-1)).toBe('open')
})

test('asks a silent server whether it lives, and leaves it when it does not answer', async () => {
  const clock = new ManualClock()
  const { client, gateway, states } = await start({}, {}, clockTime(clock))
  client.connect()
  await expect.poll(() => states.at(-1)).toBe('open')
  clock.advance(25_000)
  await expect.poll(() => messages(gateway, 'ping').length).toBe(1)
  // The answer counts as a word.
  await new Promise((resolve) => setTimeout(resolve, 20))
  clock.advance(24_999)
  expect(states.at(-1)).toBe('open')
  const [link] = gateway.links
  link?.socket.pause()
  clock.advance(1)
  clock.advance(14_999)
  expect(states.at(-1)).toBe('open')
  clock.advance(1)
  await expect.poll(() => states.at(-1)).toBe('waiting')
  clock.advance(8_000)
  await expect.poll(() => states.at(-1)).toBe('open')
  expect(gateway.handshakes).toBe(2)
})

test('a server that takes the connection and never says welcome is left', async () => {
  let silent = 2
  const { client, gateway } = await start({
    intercept: (message) => message.type === 'hello' && silent-- > 0,
  })
  expect((await client.chat(question).result).text).toBe('Hello')
  expect(gateway.handshakes).toBe(3)
})

test('keeps under the rate that the server announces', async () => {
  const { client, gateway } = await start({}, {}, fastTime(10))
  const startedMs = performance.now() * 10
  await Promise.all(Array.from({ length: 200 }, (_, index) => client.publish('custom/a', index)))
  // 80 at once, the other 120 at 40 a second.
  expect(performance.now() * 10 - startedMs).toBeGreaterThan(2_900)
  expect(gateway.topics.get('custom/a')).toEqual(Array.from({ length: 200 }, (_, index) => index))
})

describe('another credential before the old one ends', () => {
  const expire = (gateway: ScriptedGateway) => {
    for (const link of gateway.links) link.send({ type: 'auth.expiring', in_ms: 60_000 })
  }

  test('is fetched and sent where the key is a function', async () => {
    let keys = 0
    const { client, gateway } = await start({}, { apiKey: () => `key ${++keys}` })
    client.connect()
    const told: unknown[] = []
    client.on('expiring', (value) => told.push(value))
    await expect.poll(() => client.state).toBe('open')
    expire(gateway)
    await expect.poll(() => messages(gateway, 'auth.refresh')).toMatchObject([{ token: 'key 2' }])
    expect(told).toEqual([{ inMs: 60_000 }])
  })

  test('is a connection of its own where there are tickets, and streams go on over it', async () => {
    let tickets = 0
    const pieces = Array.from({ length: 2_000 }, (_, index) => `${index} `)
    const { client, gateway } = await start(
      { pieces: () => pieces },
      { apiKey: undefined, ticket: async () => `ticket-${++tickets}` },
    )
    const stream = client.chat(question)
    for await (const event of stream) if (event.seq === 20) expire(gateway)
    expect((await stream.result).text).toBe(pieces.join(''))
    expect([tickets, gateway.handshakes]).toEqual([2, 2])
  })

  test('that cannot be had is told', async () => {
    let first = true
    const apiKey = () => {
      if (!first) throw new Error('logged out')
      first = false
      return 'a key'
    }
    const { client, gateway } = await start({}, { apiKey })
    client.connect()
    const failures: HelixFlowError[] = []
    client.on('failure', (failure) => failures.push(failure))
    await expect.poll(() => client.state).toBe('open')
    expire(gateway)
    await expect.poll(() => failures).toMatchObject([{ code: 'unreachable', cause: new Error('logged out') }])
  })
})

test('a listener that throws breaks nothing here', async () => {
  const { client } = await start()
  const thrown: unknown[] = []
  const off = client.on('state', () => {
    thrown.push('thrown')
    queueMicrotask(() => {})
    off()
  })
  expect((await client.chat(question).result).text).toBe('Hello')
  expect(thrown).toEqual(['thrown'])
})

test('what is wrong with the options is said at once', () => {
  expect(() => new HelixFlowClient({ url: 'http://x' })).toThrow(
    expect.objectContaining({ code: 'invalid_configuration' }),
  )
  expect(() => new HelixFlowClient({ url: 'x', apiKey: 'k', WebSocket })).toThrow(
    expect.objectContaining({ code: 'invalid_value' }),
  )
  for (const bufferEvents of [0, -1, 1.5, Number.NaN])
    expect(() => new HelixFlowClient({ url: 'http://x', apiKey: 'k', WebSocket, bufferEvents })).toThrow(
      expect.objectContaining({ code: 'invalid_configuration' }),
    )
})

function clockTime(clock: ManualClock) {
  return {
    now: () => clock.monotonic(),
    schedule: (delayMs: number, task: () => void) => clock.schedule(delayMs, task),
  }
}
