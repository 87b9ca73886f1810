import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../../src/client/client.ts'
import type { HelixFlowOptions } from '../../../src/client/options.ts'
import type { ServerMessage } from '../../../src/contracts/realtime.ts'
import { fastTime } from '../../support/client-time.ts'
import { type Fault, type Script, ScriptedGateway } from '../../support/scripted-gateway.ts'

const TEXT = 'The quick brown fox jumps over the lazy dog. '
const PIECES = TEXT.match(/.{1,3}/g) ?? []
const question = { model: 'scripted', messages: [{ role: 'user' as const, content: 'Hello' }] }

const opened: { stop(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.stop()
})

async function start(script: Partial<Script> = {}, options: Partial<HelixFlowOptions> = {}, speed = 100) {
  const gateway = await ScriptedGateway.start({ pieces: () => PIECES, ...script })
  const client = new HelixFlowClient(
    { url: gateway.url, apiKey: 'a key', WebSocket, ...options },
    { time: fastTime(speed), random: () => 0.5 },
  )
  opened.push(gateway, { stop: () => client.close() })
  return { gateway, client }
}

/** Gives these faults, in turn, before event number `at` and those after it. */
function faultsAt(at: number, ...faults: Fault[]): () => Fault {
  let asked = 0
  return () => (++asked >= at ? (faults.shift() ?? 'none') : 'none')
}

const messages = (gateway: ScriptedGateway, type: string) =>
  gateway.received.filter((message) => message.type === type)

describe('a chat', () => {
  test('is read as events, in order, from start to end', async () => {
    const { client } = await start()
    const events = []
    for await (const event of client.chat(question)) events.push(event)
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1))
    expect(events[0]).toMatchObject({ type: 'start', model: 'scripted' })
    expect(events[1]).toEqual({ type: 'text', seq: 2, text: 'The', choice: 0 })
    expect(events.some(({ type }) => type === 'chunk')).toBe(true)
    expect(events.at(-1)).toMatchObject({ type: 'end', finishReason: 'stop' })
  })

  test('is read for its result alone, however long it is', async () => {
    const pieces = Array.from({ length: 3_000 }, (_, index) => `${index} `)
    const { client } = await start({ pieces: () => pieces }, { bufferEvents: 8 })
    const { text, usage, finishReason, model } = await client.chat(question).result
    expect({ text, finishReason, model }).toEqual({
      text: pieces.join(''),
      finishReason: 'stop',
      model: 'scripted',
    })
    expect(usage?.total_tokens).toBe(3_001)
  })

  test('is asked for once more, under the same name, when the answer to the request was lost', async () => {
    let dropped = false
    const { client, gateway } = await start({
      intercept: (message, link) => {
        if (message.type !== 'chat.create' || dropped) return false
        dropped = true
        // It began, and the connection broke before anybody was told.
        gateway.streamOf(message.id, message.request, 'chat')
        link.socket.terminate()
        return true
      },
    })
    expect((await client.chat(question).result).text).toBe(TEXT)
    expect(messages(gateway, 'chat.create')).toHaveLength(2)
    expect(gateway.streams.size).toBe(1)
  })

  test('many at once go over one connection', async () => {
    const { client, gateway } = await start()
    const results = await Promise.all(Array.from({ length: 12 }, () => client.chat(question).result))
    expect(results.map(({ text }) => text)).toEqual(Array(12).fill(TEXT))
    expect(gateway.handshakes).toBe(1)
  })

  test('has the options that were given, and no others', async () => {
    const { client, gateway } = await start()
    await client.chat({ ...question, temperature: 0 }, { id: 'my-own', detachMs: 5_000 }).result
    expect(messages(gateway, 'chat.create')).toEqual([
      { type: 'chat.create', id: 'my-own', request: { ...question, temperature: 0 }, detach_ms: 5_000 },
    ])
  })

  test('two under one name at the same time are refused', async () => {
    const { client } = await start()
    const first = client.chat(question, { id: 'same' })
    await expect(client.chat(question, { id: 'same' }).result).rejects.toMatchObject({ code: 'conflict' })
    expect((await first.result).text).toBe(TEXT)
  })

  test('a second reader of a position is refused, and the first goes on', async () => {
    const { client, gateway } = await start({}, { bufferEvents: 4 })
    const { id, epoch } = gateway.streamOf('same', question, 'chat')
    const first = client.attachChat({ stream: id, epoch, seq: 0 })
    const second = client.attachChat({ stream: id, epoch, seq: 0 })
    await expect(second.result).rejects.toMatchObject({ code: 'conflict' })
    expect((await first.result).text).toBe(TEXT)
  })

  test('one under a name that is being read is refused, and the one that reads goes on', async () => {
    const { client, gateway } = await start({}, { bufferEvents: 4 })
    const first = client.chat(question, { id: 'same' })
    await expect.poll(() => first.position?.seq).toBe(4)
    await expect(client.chat(question, { id: 'same' }).result).rejects.toMatchObject({ code: 'conflict' })
    expect(messages(gateway, 'chat.create')).toHaveLength(1)
    for (const { socket } of gateway.links) socket.terminate()
    expect((await first.result).text).toBe(TEXT)
  })

  test('one that turns out to be read here by its position is refused, and the reader goes on', async () => {
    const { client, gateway } = await start({}, { bufferEvents: 4 })
    const { id, epoch } = gateway.streamOf('same', question, 'chat')
    const first = client.attachChat({ stream: id, epoch, seq: 0 })
    await expect.poll(() => first.position?.seq).toBe(4)
    await expect(client.chat(question, { id: 'same' }).result).rejects.toMatchObject({ code: 'conflict' })
    expect((await first.result).text).toBe(TEXT)
  })

  test('what has come is acknowledged every 64 events, and at the end', async () => {
    const pieces = Array.from({ length: 300 }, () => 'a')
    const { client, gateway } = await start({ pieces: () => pieces })
    const told: number[] = []
    const stream = client.chat(question)
    await stream.result
    await client.close()
    for (const message of gateway.received) if (message.type === 'ack') told.push(message.seq)
    expect(told.at(-1)).toBe(302)
    for (const [index, seq] of told.entries()) expect(seq - (told[index - 1] ?? 0)).toBeLessThanOrEqual(64)
  })
})

test('many fast streams are acknowledged under the rate that the server announces, to their ends', async () => {
  const pieces = Array.from({ length: 4_000 }, () => 'a')
  const { client, gateway } = await start({ pieces: () => pieces }, {}, 1)
  const startedMs = performance.now()
  await Promise.all(Array.from({ length: 16 }, () => client.chat(question).result))
  const ends = () => [...gateway.streams.values()].map(({ acknowledged }) => acknowledged)
  await expect.poll(ends, { timeout: 5_000 }).toEqual(Array(16).fill(4_002))
  // Sixty times 16 and more, were each sent that is due.
  const seconds = (performance.now() - startedMs) / 1_000
  expect(messages(gateway, 'ack').length).toBeLessThan(80 + 40 * (seconds + 1))
})

describe('what the server cannot continue ends with its reason', () => {
  test.each(['not_found', 'expired', 'epoch', 'gap'] as const)('%s, after a break', async (reason) => {
    const { client } = await start({ fault: faultsAt(6, 'drop'), unrecoverable: () => reason })
    const seen: string[] = []
    const stream = client.chat(question)
    const reading = (async () => {
      for await (const text of stream.text()) seen.push(text)
    })()
    await expect(reading).rejects.toMatchObject({
      name: 'HelixFlowError',
      code: 'stream_unrecoverable',
      status: 410,
      reason,
      retryable: false,
    })
    await expect(stream.result).rejects.toMatchObject({ reason })
    expect(TEXT.startsWith(seen.join(''))).toBe(true)
  })

  test('also in the middle of a connection', async () => {
    const { client } = await start({ fault: faultsAt(6, 'skip'), unrecoverable: () => 'gap' })
    await expect(client.chat(question).result).rejects.toMatchObject({ reason: 'gap' })
  })

  test('another epoch is none of it: another gateway goes on with the next number', async () => {
    const change = (message: ServerMessage) =>
      'epoch' in message && 'seq' in message && (message.seq ?? 0) >= 5
        ? ({ ...message, epoch: 'another' } as ServerMessage)
        : message
    const { client } = await start({ change })
    const stream = client.chat(question)
    expect((await stream.result).text).toBe(TEXT)
    expect(stream.position).toMatchObject({ epoch: 'another' })
  })

  test('a server that never sends what is missing is given up', async () => {
    const change = (message: ServerMessage) =>
      message.type === 'stream.delta' && message.seq === 5 ? ({ ...message, seq: 6 } as const) : message
    const { client } = await start({ change })
    await expect(client.chat(question).result).rejects.toMatchObject({ code: 'integrity' })
  })
})

describe('a text that is not what the server generated is an error', () => {
  const wrong: readonly [string, (message: ServerMessage) => ServerMessage][] = [
    ['the hash', (one) => (one.type === 'stream.end' ? { ...one, sha256: 'a'.repeat(64) } : one)],
    ['the number of the last event', (one) => (one.type === 'stream.end' ? { ...one, last_seq: 999 } : one)],
    [
      'one letter',
      (one) => (one.type === 'stream.delta' && one.seq === 4 ? { ...one, text: `${one.text}x` } : one),
    ],
  ]
  test.each(wrong)('%s', async (_name, change) => {
    const { client } = await start({ change })
    const stream = client.chat(question)
    const reading = (async () => {
      for await (const _ of stream.text());
    })()
    await expect(reading).rejects.toMatchObject({ code: 'integrity' })
    await expect(stream.result).rejects.toMatchObject({ code: 'integrity' })
  })
})

test('a failure of the server is told as it is, after what came before it', async () => {
  const error = { message: 'died', type: 'server_error', param: null, code: 'engine_failed' } as const
  const { client } = await start({
    change: (one) =>
      one.type === 'stream.delta' && one.seq === 4
        ? { ...one, type: 'stream.error', error, status: 502, retryable: true, retry_after_ms: 70 }
        : one,
  })
  const seen: string[] = []
  const stream = client.chat(question)
  const reading = (async () => {
    for await (const text of stream.text()) seen.push(text)
  })()
  const expected = { code: 'engine_failed', message: 'died', status: 502, retryable: true, retryAfterMs: 70 }
  await expect(reading).rejects.toMatchObject(expected)
  expect(seen.join('')).toBe('The qu')
})

test('a request that is refused fails, and the connection goes on', async () => {
  const error = {
    message: 'no',
    type: 'invalid_request_error',
    param: 'model',
    code: 'model_not_found',
  } as const
  const { client } = await start({
    intercept: (message, link) => {
      if (message.type !== 'chat.create' || message.request['model'] !== 'none') return false
      link.send({ type: 'error', id: message.id, status: 404, error, retryable: false })
      return true
    },
  })
  await expect(client.chat({ ...question, model: 'none' }).result).rejects.toMatchObject({
    code: 'model_not_found',
    param: 'model',
    status: 404,
  })
  expect((await client.chat(question).result).text).toBe(TEXT)
})

test('what a draining server refuses is begun on the next connection', async () => {
  let refused = 0
  const error = { message: 'no', type: 'server_error', param: null, code: 'server_draining' } as const
  const { client, gateway } = await start({
    intercept: (message, link) => {
      if (message.type !== 'chat.create' || refused > 0) return false
      refused++
      link.send({ type: 'error', id: message.id, status: 503, error, retryable: true })
      link.socket.close(1012, 'server_draining')
      return true
    },
  })
  expect((await client.chat(question).result).text).toBe(TEXT)
  expect([refused, gateway.handshakes]).toEqual([1, 2])
})

describe('cancelling', () => {
  const endless = { pieces: () => Array.from({ length: 100_000 }, () => 'a') }
  const cancelled = (gateway: ScriptedGateway) =>
    expect.poll(() => [...gateway.streams.values()].every((stream) => stream.cancelled)).toBe(true)

  test('ends the stream at the server, and the reader', async () => {
    const { client, gateway } = await start(endless)
    const stream = client.chat(question)
    const reading = (async () => {
      for await (const event of stream) if (event.seq === 10) stream.cancel()
    })()
    await expect(reading).rejects.toMatchObject({ code: 'cancelled' })
    await expect(stream.result).rejects.toMatchObject({ code: 'cancelled' })
    await cancelled(gateway)
  })

  test('by a signal', async () => {
    const { client, gateway } = await start(endless)
    const controller = new AbortController()
    const stream = client.chat(question, { signal: controller.signal })
    const reading = (async () => {
      for await (const event of stream) if (event.seq === 10) controller.abort(new Error('enough'))
    })()
    await expect(reading).rejects.toMatchObject({ code: 'cancelled', cause: new Error('enough') })
    await cancelled(gateway)
  })

  test('by a signal that has been given: then nothing begins', async () => {
    const { client, gateway } = await start()
    const stream = client.chat(question, { signal: AbortSignal.abort() })
    await expect(stream.result).rejects.toMatchObject({ code: 'cancelled' })
    expect(gateway.handshakes).toBe(0)
  })

  test('by leaving the loop', async () => {
    const { client, gateway } = await start(endless)
    for await (const text of client.chat(question).text()) if (text !== '') break
    await cancelled(gateway)
  })

  test('before the server has answered: it is cancelled when the answer comes', async () => {
    const { client, gateway } = await start({
      ...endless,
      intercept: (message, link) => {
        if (message.type !== 'chat.create') return false
        stream.cancel()
        link.receive(message)
        return true
      },
    })
    const stream = client.chat(question)
    await expect(stream.result).rejects.toMatchObject({ code: 'cancelled' })
    await cancelled(gateway)
    expect(gateway.streams.size).toBe(1)
  })

  test('while there is no connection: the next one is told', async () => {
    const { client, gateway } = await start({ ...endless, fault: faultsAt(20, 'drop') })
    const stream = client.chat(question)
    const off = client.on('state', (state) => {
      if (state === 'waiting') stream.cancel()
    })
    await expect(stream.result).rejects.toMatchObject({ code: 'cancelled' })
    await cancelled(gateway)
    off()
  })

  test('closing the client cancels what goes on', async () => {
    const { client, gateway } = await start(endless)
    const stream = client.chat(question)
    for await (const event of client.chat(question)) if (event.seq > 5) break
    await client.close()
    await expect(stream.result).rejects.toMatchObject({ code: 'cancelled' })
    await cancelled(gateway)
    expect(() => client.subscribe('models')).toThrow(expect.objectContaining({ code: 'closed' }))
  })
})

describe('a reader that is slow', () => {
  test('holds no more than its buffer, and misses nothing', async () => {
    const pieces = Array.from({ length: 500 }, (_, index) => `${index} `)
    const { client, gateway } = await start({ pieces: () => pieces }, { bufferEvents: 10 })
    const stream = client.chat(question)
    const seen: string[] = []
    for await (const text of stream.text()) {
      // The server has long sent everything when the first is read.
      if (seen.length === 0) await expect.poll(() => gateway.streams.size).toBe(1)
      seen.push(text)
      if (seen.length % 50 === 1) await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(seen.join('')).toBe(pieces.join(''))
    expect(messages(gateway, 'resume').length).toBeGreaterThan(1)
    expect((await stream.result).text).toBe(pieces.join(''))
  })

  test('that comes when only the result was left is refused', async () => {
    const pieces = Array.from({ length: 100 }, () => 'a')
    const { client } = await start({ pieces: () => pieces }, { bufferEvents: 10 })
    const stream = client.chat(question)
    await stream.result
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'consumed' })
  })

  test('a second reader of the same stream is refused', async () => {
    const { client } = await start()
    const stream = client.chat(question)
    for await (const _ of stream);
    await expect(stream.text()[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'consumed' })
  })
})

describe('a response', () => {
  test('gives the events of the Responses API, numbered as there, and its text', async () => {
    const { client } = await start({ fault: faultsAt(5, 'drop', 'double', 'skip') })
    const stream = client.respond({ model: 'scripted', input: 'Hello' })
    const events = []
    for await (const event of stream) events.push(event)
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, index) => index))
    expect(events[0]?.type).toBe('response.created')
    const { text, last } = await stream.result
    expect([text, last?.type]).toEqual([TEXT, 'response.completed'])
  })
})

describe('going on with a stream of another reader', () => {
  test('gives what follows, and proves it when it is the whole', async () => {
    const { client, gateway } = await start()
    const first = client.chat(question)
    for await (const event of first) if (event.seq === 5) break
    const position = first.position
    expect(position).toMatchObject({ seq: expect.any(Number) })
    if (!position) return
    const stream = gateway.streams.get(position.stream)
    if (stream) stream.cancelled = false
    const other = new HelixFlowClient({ url: gateway.url, apiKey: 'a key', WebSocket })
    opened.push({ stop: () => other.close() })
    const rest = await other.attachChat(position).result
    const whole = await other.attachChat({ ...position, seq: 0 }).result
    expect(whole.text).toBe(TEXT)
    expect(TEXT.endsWith(rest.text)).toBe(true)
    expect(rest.text.length).toBeLessThan(TEXT.length)
  })
})
