import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { helixflow } from '../../support/helixflow.ts'
import { administratorKey, keyElsewhere, operatorOf, sendJson } from '../../support/http-administration.ts'
import {
  chatEvent,
  sendEvents,
  sendStream,
  type UpstreamCall,
  wholeStream,
} from '../../support/scripted-upstream.ts'
import { type OpenOptions, SocketClient, textOf } from '../../support/socket-client.ts'

let bench: GatewayBench
let apiKey: string
let administrator: string
let theirKey: string

beforeAll(async () => {
  bench = await GatewayBench.start(
    { stallTimeout: '20s', requestDeadline: '30s' },
    {},
    { realtime: { handshakesPerSecond: 10_000, connectionsPerKey: 1_000, keepFor: '1s', bufferEvents: 200 } },
  )
  apiKey = bench.server.apiKey
  administrator = await administratorKey(bench.server)
  theirKey = await keyElsewhere(bench.server)
})
afterAll(() => bench?.stop())

async function connect(options: OpenOptions = {}): Promise<SocketClient> {
  const client = await SocketClient.open(bench.server.origin, { apiKey, ...options })
  onTestFinished(() => client.ws.terminate())
  return client
}

async function greeted(options: OpenOptions = {}): Promise<SocketClient> {
  const client = await connect(options)
  await client.hello()
  return client
}

async function makeKey(body: object = {}): Promise<{ id: string; key: string }> {
  const made = await sendJson(bench.server, administrator, {
    method: 'POST',
    path: '/admin/v1/keys',
    body: { name: 'a key', ...body },
  })
  expect(made.status).toBe(200)
  return { id: made.body.id ?? '', key: made.body.plaintext ?? '' }
}

/** Starts a chat whose engine has said so much, and says more when it is told. */
async function openChat(client: SocketClient, texts: readonly string[], message: object = {}) {
  bench.upstream.play(
    (call) =>
      void sendEvents(
        call,
        texts.map((text) => chatEvent(text)),
      ),
  )
  const { stream, epoch } = await client.chat({}, message)
  const call = await bench.upstream.call(1)
  if (texts.length > 0)
    await client.find('stream.delta', (one) => one.stream === stream && one.text === texts.at(-1))
  const say = (text: string) => call.response.write(chatEvent(text))
  return { stream, epoch, call, say, finish: () => finish(call) }
}

function finish({ response }: UpstreamCall): void {
  for (const event of wholeStream(0)) response.write(event)
  response.end()
}

const failure = (code: string, status: number) => ({ type: 'error', status, error: { code } })

describe('a stream that breaks off', () => {
  test('is continued on another connection, without a gap and without anything twice', async () => {
    const first = await greeted()
    const { stream, epoch, say, finish } = await openChat(first, ['a', 'b', 'c'])
    await first.cut()
    say('d')
    const second = await connect()
    const welcome = await second.hello({ resume: [{ stream, epoch, seq: 2 }] })
    expect(welcome.resume).toEqual([{ stream, recovered: true, from: 3 }])
    say('e')
    finish()
    const events = await second.wholeStream(stream)
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, at) => at + 3))
    expect(textOf(events)).toBe('bcde')
    const sha256 = createHash('sha256').update('abcde').digest('hex')
    expect(events.at(-1)).toMatchObject({ type: 'stream.end', sha256, epoch })
  })

  test('is continued in the middle of a connection too, by resume', async () => {
    const client = await greeted()
    const { stream, epoch, finish } = await openChat(client, ['a', 'b'])
    expect(await client.ask({ type: 'leave', stream })).toMatchObject({ type: 'ack' })
    const answer = await client.ask({ type: 'resume', stream, epoch, seq: 0 })
    expect(answer).toMatchObject({ type: 'resumed', recovered: true, from: 1, epoch })
    finish()
    const seqs = (await client.wholeStream(stream)).map(({ seq }) => seq)
    expect(seqs.slice(0, 3)).toEqual([1, 2, 3])
    expect(seqs.slice(3)).toEqual(seqs.slice(3).map((_, at) => at + 1))
  })

  test('can be followed by two connections at once', async () => {
    const [first, second] = [await greeted(), await greeted()]
    const { stream, epoch, say, finish } = await openChat(first, ['a'])
    await second.ask({ type: 'resume', stream, epoch, seq: 0 })
    say('b')
    finish()
    const events = await Promise.all([first, second].map((one) => one.wholeStream(stream)))
    expect(events[0]).toEqual(events[1])
  })

  test('is cancelled when nobody comes back within its time', async () => {
    const client = await greeted()
    const { call } = await openChat(client, ['a'], { detach_ms: 0 })
    await client.cut()
    await call.closed
  })

  test('ends for everybody when it is cancelled', async () => {
    const [first, second] = [await greeted(), await greeted()]
    const { stream, call } = await openChat(first, ['a'])
    expect(await second.ask({ type: 'response.cancel', stream })).toMatchObject({ type: 'ack', stream })
    await call.closed
    const last = (await first.wholeStream(stream)).at(-1)
    expect(last).toMatchObject({ type: 'stream.error', error: { code: 'client_closed_request' } })
  })
})

describe('what cannot be continued is said, and never made up', () => {
  test('each reason has its name, another tenant’s stream is none, and a refusal brings no event', async () => {
    const client = await greeted()
    const { stream, epoch, finish } = await openChat(client, ['a', 'b'])
    const unknown = `str_${'0'.repeat(32)}`
    const [mine, theirs] = [await greeted(), await greeted({ apiKey: theirKey })]
    const reasons = async (who: SocketClient, position: object) => {
      const answer = await who.ask({ type: 'resume', stream, epoch, seq: 0, ...position })
      return 'reason' in answer ? answer.reason : answer
    }
    expect(await reasons(mine, { stream: unknown })).toBe('not_found')
    expect(await reasons(mine, { epoch: 'another' })).toBe('epoch')
    expect(await reasons(mine, { seq: 1_000 })).toBe('gap')
    expect(await reasons(theirs, {})).toBe('not_found')
    expect(await theirs.ask({ type: 'response.cancel', stream })).toMatchObject(failure('not_found', 404))
    expect(await theirs.ask({ type: 'leave', stream })).toMatchObject(failure('not_found', 404))
    finish()
    await client.wholeStream(stream)
    expect([...mine.messages, ...theirs.messages].filter((one) => one.type.startsWith('stream.'))).toEqual([])
    await expect.poll(() => reasons(mine, {}), { timeout: 5_000 }).toBe('expired')
    expect(await reasons(theirs, {})).toBe('not_found')
  })

  test('what the buffer has let go is a gap', async () => {
    const client = await greeted()
    bench.upstream.play((call) => void sendStream(call, wholeStream(400)))
    const { stream, epoch } = await client.chat()
    const other = await greeted()
    // What is let go at once has passed a slow reader too: only the answer tells that it has come so far.
    const resumed = () => other.ask({ type: 'resume', stream, epoch, seq: 5 })
    await expect
      .poll(resumed, { interval: 100 })
      .toMatchObject({ type: 'resumed', recovered: false, reason: 'gap' })
  })

  test('hello tells it of each stream', async () => {
    const client = await greeted()
    const { stream, epoch } = await openChat(client, ['a'])
    const unknown = `str_${'1'.repeat(32)}`
    const welcome = await (await connect()).hello({
      resume: [
        { stream: unknown, epoch, seq: 0 },
        { stream, epoch, seq: 1 },
        { stream, epoch: 'x', seq: 1 },
      ],
    })
    expect(welcome.resume).toEqual([
      { stream: unknown, recovered: false, reason: 'not_found' },
      { stream, recovered: true, from: 2 },
      { stream, recovered: false, reason: 'epoch' },
    ])
  })
})

describe('chat.create', () => {
  test('with the same id is the same generation, on any connection of the key', async () => {
    const [first, second] = [await greeted(), await greeted()]
    const { stream, finish } = await openChat(first, ['a'], { id: 'once' })
    expect(await second.chat({}, { id: 'once' })).toMatchObject({ stream })
    const { key } = await makeKey()
    const other = await greeted({ apiKey: key })
    expect(await other.chat({}, { id: 'once' })).not.toMatchObject({ stream })
    await bench.upstream.call(2)
    expect(bench.upstream.calls).toHaveLength(2)
    finish()
    expect((await second.wholeStream(stream)).map(({ seq }) => seq)[0]).toBe(1)
  })

  test('sent twice at once is one generation', async () => {
    const client = await greeted()
    bench.upstream.play((call) => void sendStream(call, wholeStream(3)))
    const [one, two] = await Promise.all([client.chat({}, { id: 'twin' }), client.chat({}, { id: 'twin' })])
    expect(one).toEqual(two)
    await client.wholeStream(one.stream)
    expect(bench.upstream.calls).toHaveLength(1)
  })

  test.each([
    ['an unknown parameter', { nonsense: 1 }, 'unsupported_parameter', 400],
    ['a wrong value', { temperature: 'hot' }, 'invalid_value', 400],
    ['stream, which it always does', { stream: true }, 'unsupported_parameter', 400],
    ['options of it', { stream_options: {} }, 'unsupported_parameter', 400],
  ])('with %s fails as over HTTP, and the id is free again', async (name, change, code, status) => {
    const client = await greeted()
    const messages = [{ role: 'user', content: 'Hello' }]
    const message = { type: 'chat.create', id: `fails-${name.replaceAll(' ', '-')}` } as const
    const answer = await client.ask({ ...message, request: { model: 'far', messages, ...change } })
    expect(answer).toMatchObject({ ...failure(code, status), id: message.id })
    bench.upstream.play((call) => void sendStream(call, wholeStream(1)))
    const { stream } = await client.chat({}, { id: message.id })
    await client.wholeStream(stream)
  })

  test('of an unknown model is a stream that fails with what HTTP answers', async () => {
    const client = await greeted()
    const { stream } = await client.chat({ model: 'nowhere' })
    expect(await client.wholeStream(stream)).toMatchObject([
      { type: 'stream.error', seq: 1, status: 404, error: { code: 'model_not_found' }, retryable: false },
    ])
  })

  test('has a line in the access log and in the records, as a request over HTTP', async () => {
    const client = await greeted()
    bench.upstream.play((call) => void sendStream(call, wholeStream(7)))
    const answer = await client.ask({
      type: 'chat.create',
      id: 'logged',
      request: { model: 'far', user: 'me', messages: [{ role: 'user', content: 'Hello' }] },
    })
    const { request_id: request = '' } = answer as { request_id?: string }
    const [line] = await bench.server.logged(new RegExp(`.*"${request}".*`))
    expect(JSON.parse(line)).toMatchObject({
      route: '/ws chat.create',
      status: 200,
      model: 'far',
      user: 'me',
      completionTokens: 7,
      clientRequest: 'logged',
    })
  })

  test('takes sixteen streams at once, and one more when one has ended', async () => {
    const client = await greeted()
    const calls: UpstreamCall[] = []
    bench.upstream.play((call) => {
      calls.push(call)
      void sendEvents(call, [chatEvent('a')])
    })
    const streams = await Promise.all(Array.from({ length: 16 }, () => client.chat()))
    const request = { model: 'far', messages: [{ role: 'user', content: 'Hello' }] }
    const refusal = await client.ask({ type: 'chat.create', request })
    expect(refusal).toMatchObject(failure('concurrency_limit_exceeded', 429))
    for (const call of calls) finish(call)
    await client.wholeStream(streams[0]?.stream ?? '')
    bench.upstream.play((call) => void sendStream(call, wholeStream(1)))
    await client.wholeStream((await client.chat()).stream)
  })

  test('streams that are resumed at the same time are sixteen too', async () => {
    const [maker, other, client] = [await greeted(), await greeted(), await greeted()]
    const calls: UpstreamCall[] = []
    bench.upstream.play((call) => {
      calls.push(call)
      void sendEvents(call, [chatEvent('a')])
    })
    const many = await Promise.all(Array.from({ length: 16 }, () => maker.chat()))
    const more = await Promise.all(Array.from({ length: 4 }, () => other.chat()))
    const resume = (one: { stream: string; epoch: string }) => client.ask({ type: 'resume', ...one, seq: 0 })
    await Promise.all(many.slice(0, 15).map(resume))
    // In one packet, so that none has an answer before the next is read.
    const { _socket: socket } = client.ws as unknown as { readonly _socket: Socket }
    socket.cork()
    const asked = [...many.slice(15), ...more].map(resume)
    socket.uncork()
    const answers = await Promise.all(asked)
    expect(answers.map(({ type }) => type)).toEqual(['resumed', 'error', 'error', 'error', 'error'])
    expect(answers[1]).toMatchObject(failure('concurrency_limit_exceeded', 429))
    for (const call of calls) finish(call)
  })

  test('is held to the limits of its key', async () => {
    const { id, key } = await makeKey()
    const operator = operatorOf(bench.server)
    await operator.post('/admin/v1/limits', { measure: 'requests', limit: 2, window: '1h', keyId: id })
    bench.upstream.play((call) => void sendStream(call, wholeStream(1)))
    const client = await greeted({ apiKey: key })
    await expect
      .poll(async () => {
        const request = { model: 'far', messages: [{ role: 'user', content: 'Hello' }] }
        return client.ask({ type: 'chat.create', request })
      })
      .toMatchObject(failure('rate_limit_exceeded', 429))
    const over = await bench.ask({}, { headers: { authorization: `Bearer ${key}` } })
    expect(over.status).toBe(429)
  })
})

describe('messages that cannot be taken', () => {
  test('an unknown type, a missing field and a field too many are told apart, and the connection goes on', async () => {
    const client = await greeted()
    expect(await client.ask({ type: 'nonsense' as 'ping' })).toMatchObject(failure('unknown_type', 400))
    expect(await client.ask({ type: 'leave' })).toMatchObject(failure('invalid_value', 400))
    const more = { type: 'leave', stream: `str_${'0'.repeat(32)}`, more: 1 } as const
    expect(await client.ask(more)).toMatchObject(failure('unsupported_parameter', 400))
    expect(await client.ask({ type: 'response.create', request: {} })).toMatchObject(
      failure('invalid_value', 400),
    )
    client.send({ type: 'ping', n: 3 })
    await client.find('pong', ({ n }) => n === 3)
  })

  test('five in a row end the connection', async () => {
    const client = await greeted()
    for (const text of ['', '[]', 'null', '{"type":1}', '{']) client.ws.send(text)
    expect(await client.ended).toMatchObject({ code: 1008, reason: 'invalid_json' })
    expect(client.messages.filter(({ type }) => type === 'error')).toHaveLength(5)
  })

  test('one that lies too deep in itself ends it at once', async () => {
    const client = await greeted()
    const deep = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`
    client.ws.send(`{"type":"publish","id":"a","topic":"custom/deep","data":${deep(31)}}`)
    await client.find('ack', ({ id }) => id === 'a')
    client.ws.send(`{"type":"publish","id":"b","topic":"custom/deep","data":${deep(32)}}`)
    expect(await client.ended).toMatchObject({ code: 1008 })
  })

  test('more than a hundred at once are refused, and who goes on is sent away', async () => {
    const client = await greeted()
    for (let n = 0; n < 110; n++) client.send({ type: 'ping', n })
    expect(await client.ended).toMatchObject({ code: 1008, reason: 'rate_limit_exceeded' })
    expect(client.messages.filter(({ type }) => type === 'pong').length).toBeGreaterThanOrEqual(98)
    const refusals = client.messages.filter(({ type }) => type === 'error')
    expect(refusals).toHaveLength(3)
    expect(refusals[0]).toMatchObject({ ...failure('rate_limit_exceeded', 429), retryable: true })
  })

  test('anything before hello ends it', async () => {
    const client = await connect()
    client.send({ type: 'ping' })
    expect(await client.ended).toMatchObject({ code: 4408, reason: 'no_hello' })
    const plain = await connect({ protocols: [] })
    plain.send({ type: 'ping' })
    expect(await plain.ended).toMatchObject({ code: 1008, reason: 'no_hello' })
  })

  test('what was sent right behind hello is answered after the welcome', async () => {
    const client = await connect()
    client.send({ type: 'hello' })
    client.send({ type: 'subscribe', id: 's', topic: 'custom/early' })
    await client.find('ack')
    expect(client.messages.map(({ type }) => type)).toEqual(['welcome', 'ack'])
  })

  test('more than sixteen questions that wait are answered all the same, each once', async () => {
    const client = await greeted()
    const topics = Array.from({ length: 60 }, (_, at) => `custom/many-${at}`)
    const answers = await Promise.all(topics.map((topic) => client.ask({ type: 'subscribe', topic })))
    expect(answers.map((one) => 'topic' in one && one.topic)).toEqual(topics)
    expect(client.messages.filter(({ type }) => type === 'ack')).toHaveLength(60)
  })
})

describe('topics', () => {
  test('reach who follows them, in order, each once, and nobody of another project', async () => {
    const [publisher, follower] = [await greeted(), await greeted()]
    const stranger = await greeted({ apiKey: theirKey })
    for (const one of [follower, stranger]) await one.ask({ type: 'subscribe', topic: 'custom/news' })
    for (const data of [1, { two: 2 }, [3], 2])
      await publisher.ask({ type: 'publish', topic: 'custom/news', data, key: JSON.stringify(data) })
    await publisher.ask({ type: 'publish', topic: 'custom/news', data: 'again', key: '1' })
    await publisher.ask({ type: 'publish', topic: 'custom/news', data: 'last' })
    await follower.find('event', ({ data }) => data === 'last')
    const events = follower.messages.filter((one) => one.type === 'event')
    expect(events.map(({ data }) => data)).toEqual([1, { two: 2 }, [3], 2, 'last'])
    expect(stranger.messages.filter(({ type }) => type === 'event')).toEqual([])
  })

  test('are continued where a connection broke off', async () => {
    const publisher = await greeted()
    const follower = await greeted()
    const joined = await follower.ask({ type: 'subscribe', topic: 'custom/continued' })
    const { epoch = '' } = joined as { epoch?: string }
    await publisher.ask({ type: 'publish', topic: 'custom/continued', data: 'one' })
    const { seq } = await follower.find('event')
    await follower.cut()
    await publisher.ask({ type: 'publish', topic: 'custom/continued', data: 'two' })
    const again = await connect()
    const welcome = await again.hello({ topics: [{ topic: 'custom/continued', epoch, seq }] })
    expect(welcome.topics).toMatchObject([{ topic: 'custom/continued', recovered: true }])
    expect(await again.find('event')).toMatchObject({ data: 'two', seq: seq + 1 })
  })

  test.each([
    ['inference', ['models', 'jobs', 'custom/x', 'custom/x/presence'], ['devices', 'alerts', 'usage']],
    ['usage.read', ['models', 'usage'], ['devices', 'alerts', 'jobs', 'custom/x', 'custom/x/presence']],
    ['models.read', ['models', 'devices', 'alerts'], ['usage', 'jobs', 'custom/x']],
  ] as const)('a key with %s follows what it may', async (scope, allowed, forbidden) => {
    const made = await operatorOf(bench.server).post<{ plaintext: string }>('/admin/v1/keys', {
      name: 'scoped',
      scopes: [scope],
    })
    const client = await connect({ apiKey: made.plaintext })
    const topics = [...allowed, ...forbidden, 'nowhere', 'custom', 'custom/'].map((topic) => ({ topic }))
    const welcome = await client.hello({ topics })
    const reasons = welcome.topics.map((one) => ('reason' in one ? one.reason : one.recovered))
    const expected = [...allowed.map(() => true), ...forbidden.map(() => 'forbidden')]
    expect(reasons).toEqual([...expected, 'not_found', 'not_found', 'not_found'])
  })

  test('of the platform tell what is the case', async () => {
    const made = await operatorOf(bench.server).post<{ plaintext: string }>('/admin/v1/keys', {
      name: 'observer',
      scopes: ['models.read', 'usage.read', 'inference'],
    })
    const client = await connect({ apiKey: made.plaintext })
    await client.hello({ topics: [{ topic: 'models' }, { topic: 'devices' }, { topic: 'usage' }] })
    const dataOf = async (topic: string) => (await client.find('event', (one) => one.topic === topic)).data
    expect(await dataOf('models')).toMatchObject({ models: [{ id: 'far' }, { id: 'gone' }] })
    expect(await dataOf('devices')).toMatchObject({
      cpus: expect.any(Number),
      memory_bytes: expect.any(Number),
      gateway_bytes: expect.any(Number),
    })
    expect(await dataOf('usage')).toMatchObject({ project: 'proj_default', requests: expect.any(Number) })
    bench.upstream.play((call) => void sendStream(call, wholeStream(9)))
    const before = client.messages.length
    await client.wholeStream((await client.chat()).stream)
    const isCounted = (one: { topic: string; data: unknown }) =>
      one.topic === 'usage' && ((one.data as { completion_tokens: number }).completion_tokens ?? 0) >= 9
    await client.find('event', (one) => client.messages.indexOf(one) >= before && isCounted(one))
  })

  test('of models show a key those that it may use, and no others', async () => {
    const { key } = await makeKey({ models: ['far'] })
    const client = await connect({ apiKey: key })
    await client.hello({ topics: [{ topic: 'models' }] })
    const { data } = await client.find('event')
    expect((data as { models: { id: string }[] }).models.map(({ id }) => id)).toEqual(['far'])
  })

  test('of presence tell how many follow', async () => {
    const client = await greeted()
    await client.ask({ type: 'subscribe', topic: 'custom/room/presence' })
    const isCount = (count: number) => (one: { data: unknown }) =>
      (one.data as { connections: number }).connections === count
    await client.find('event', isCount(0))
    const [first, second] = [await greeted(), await greeted()]
    for (const one of [first, second]) await one.ask({ type: 'subscribe', topic: 'custom/room' })
    await client.find('event', isCount(2))
    await first.ask({ type: 'unsubscribe', topic: 'custom/room' })
    await client.find('event', isCount(1))
    await second.cut()
    await expect
      .poll(() => client.messages.filter((one) => one.type === 'event').at(-1)?.data)
      .toMatchObject({
        connections: 0,
      })
  })

  test('nobody publishes what is not theirs to publish', async () => {
    const client = await greeted()
    for (const topic of ['models', 'jobs', 'custom/x/presence', 'nowhere'])
      expect(await client.ask({ type: 'publish', topic, data: 1 })).toMatchObject({ type: 'error' })
    const large = await client.ask({ type: 'publish', topic: 'custom/x', data: 'x'.repeat(65_536) })
    expect(large).toMatchObject(failure('request_too_large', 413))
  })

  test('a connection follows 128, and no topic twice', async () => {
    const client = await connect()
    const topics = Array.from({ length: 128 }, (_, at) => ({ topic: `custom/t${at}` }))
    await client.hello({ topics })
    const more = await client.ask({ type: 'subscribe', topic: 'custom/more' })
    expect(more).toMatchObject(failure('concurrency_limit_exceeded', 429))
    await client.ask({ type: 'unsubscribe', topic: 'custom/t0' })
    expect(await client.ask({ type: 'subscribe', topic: 'custom/t1' })).toMatchObject(
      failure('conflict', 409),
    )
    expect(await client.ask({ type: 'subscribe', topic: 'custom/t0' })).toMatchObject({ type: 'ack' })
  })
})

describe('a broadcast', () => {
  test('reaches every connection of the organisation, and no other', async () => {
    const [one, two, theirs] = [await greeted(), await greeted(), await greeted({ apiKey: theirKey })]
    const { code, out } = await helixflow(bench.server, 'broadcast', 'back at nine', '--level', 'warning')
    expect([code, out.trim()]).toEqual([0, 'announced'])
    for (const client of [one, two])
      expect(await client.find('notice')).toEqual({
        type: 'notice',
        message: 'back at nine',
        level: 'warning',
        from: 'operator',
      })
    theirs.send({ type: 'ping' })
    await theirs.find('pong')
    expect(theirs.messages.some(({ type }) => type === 'notice')).toBe(false)
  })

  test('needs the permission', async () => {
    const client = await greeted()
    const refusal = await client.ask({ type: 'broadcast', message: 'hi' })
    expect(refusal).toMatchObject(failure('insufficient_permissions', 403))
    const made = await operatorOf(bench.server).post<{ plaintext: string; id: string }>('/admin/v1/keys', {
      name: 'speaker',
      scopes: ['organisation.write'],
    })
    const speaker = await greeted({ apiKey: made.plaintext })
    expect(await speaker.ask({ type: 'broadcast', message: 'hi' })).toMatchObject({ type: 'ack' })
    expect(await client.find('notice')).toMatchObject({ message: 'hi', from: `key:${made.id}` })
  })
})

describe('a credential that ends', () => {
  test('ends its connections within a second, and their streams', async () => {
    const { id, key } = await makeKey()
    const clients = await Promise.all(Array.from({ length: 30 }, () => greeted({ apiKey: key })))
    const [first] = clients
    if (!first) throw new Error('no client')
    const { call } = await openChat(first, ['a'])
    const other = await greeted()
    const startMs = performance.now()
    await sendJson(bench.server, administrator, { method: 'DELETE', path: `/admin/v1/keys/${id}` })
    const endings = await Promise.all(clients.map(({ ended }) => ended))
    expect(new Set(endings.map(({ code, reason }) => `${code} ${reason}`))).toEqual(
      new Set(['4403 api_key_revoked']),
    )
    expect(Math.max(...endings.map(({ atMs }) => atMs)) - startMs).toBeLessThan(1_000)
    await call.closed
    other.send({ type: 'ping' })
    await other.find('pong')
  })

  test('ends what it reads over HTTP too, and not the stream of somebody else', async () => {
    const maker = await greeted()
    const { stream, say, finish } = await openChat(maker, ['a'])
    const { id, key } = await makeKey()
    const reading = await fetch(`${bench.server.url}/streams/${stream}`, {
      headers: { authorization: `Bearer ${key}` },
    })
    const parts = reading.body?.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]()
    expect((await parts?.next())?.value).toContain('"content":"a"')
    await sendJson(bench.server, administrator, { method: 'DELETE', path: `/admin/v1/keys/${id}` })
    expect((await parts?.next())?.value).toContain('"code":"api_key_revoked"')
    await expect(parts?.next()).rejects.toThrow()
    say('b')
    finish()
    expect(textOf(await maker.wholeStream(stream))).toBe('ab')
  })

  test('is replaced on the connection by another of the same party, and by no other', async () => {
    const token = async (key: string) => {
      const body = { grant_type: 'api_key', api_key: key }
      const answer = await sendJson(bench.server, key, { method: 'POST', path: '/auth/v1/token', body })
      return (answer.body as { access_token?: string }).access_token ?? ''
    }
    const [mine, other] = [await makeKey(), await makeKey()]
    const client = await greeted({ apiKey: await token(mine.key) })
    expect(await client.ask({ type: 'auth.refresh', token: await token(mine.key) })).toMatchObject({
      type: 'ack',
    })
    expect(await client.ask({ type: 'auth.refresh', token: mine.key })).toMatchObject({ type: 'ack' })
    for (const [wrong, code] of [
      [other.key, 'insufficient_permissions'],
      [theirKey, 'insufficient_permissions'],
      ['nonsense', 'invalid_api_key'],
    ])
      expect(await client.ask({ type: 'auth.refresh', token: wrong })).toMatchObject({ error: { code } })
    await sendJson(bench.server, administrator, { method: 'DELETE', path: `/admin/v1/keys/${mine.id}` })
    expect(await client.ended).toMatchObject({ code: 4403 })
  })
})

describe('what the operator sees', () => {
  test('metrics and status count connections, messages, streams and topics', async () => {
    const client = await greeted()
    const { stream, epoch, finish } = await openChat(client, ['a'])
    await client.ask({ type: 'subscribe', topic: 'custom/seen' })
    await client.ask({ type: 'resume', stream, epoch, seq: 0 })
    const status = await operatorOf(bench.server).get<{ realtime: object }>('/admin/v1/status')
    expect(status.realtime).toMatchObject({
      connections: expect.any(Number),
      streams: expect.any(Number),
      topics: { 'custom/seen': 1 },
    })
    const read = async () => await (await fetch(bench.server.metricsUrl)).text()
    await expect.poll(read, { timeout: 3_000 }).toMatch(/helixflow_streams{state="attached"} [1-9]/)
    const text = await read()
    expect(text).toMatch(/helixflow_ws_connections [1-9]/)
    expect(text).toMatch(/helixflow_ws_messages_total{direction="in",type="hello"} \d+/)
    expect(text).toMatch(/helixflow_ws_messages_total{direction="out",type="stream.delta"} \d+/)
    expect(text).toMatch(/helixflow_ws_resume_total{outcome="recovered"} \d+/)
    expect(text).toMatch(/helixflow_ws_closed_total{code="1008"} \d+/)
    expect(text).not.toMatch(/nonsense/)
    finish()
  })
})
