import { createHash } from 'node:crypto'
import OpenAI from 'openai'
import { ResponsesWS } from 'openai/resources/responses/ws'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Server, startServer } from '../support/server.ts'

let server: Server
let client: OpenAI
beforeAll(async () => {
  server = await startServer()
  client = new OpenAI({ baseURL: server.url, apiKey: server.apiKey, maxRetries: 0 })
})
afterAll(async () => {
  expect(await server.stop()).toBe(0)
})

const hello = { model: 'tiny', input: 'Hello', max_output_tokens: 8, temperature: 0 }

interface Told {
  readonly type: string
  readonly sequence_number?: number
  readonly stream_id?: string
  readonly status?: number
  readonly delta?: string
  readonly error?: { readonly code: string; readonly param: string | null }
  readonly response?: OpenAI.Responses.Response
}

/** The official client's socket, and what it was told. */
class Talk {
  readonly told: Told[] = []
  private readonly waiting = new Set<() => void>()

  private constructor(readonly socket: ResponsesWS) {
    socket.on('event', (event) => this.hear(event as unknown as Told))
    socket.on('error', () => {})
  }

  static async open(): Promise<Talk> {
    const socket = new ResponsesWS(client)
    await new Promise((resolve, reject) => {
      socket.socket.on('open', () => resolve(undefined))
      socket.socket.on('error', reject)
    })
    return new Talk(socket)
  }

  say(message: object): void {
    this.socket.send({ type: 'response.create', ...message } as never)
  }

  /** So many events that end a response, or refuse it. */
  async ends(count: number): Promise<readonly Told[]> {
    for (;;) {
      const ends = this.told.filter(({ type }) =>
        /^(error|response\.(completed|incomplete|failed))$/.test(type),
      )
      if (ends.length >= count) return ends
      await new Promise<void>((resolve) => this.waiting.add(resolve))
    }
  }

  private hear(event: Told): void {
    this.told.push(event)
    for (const resolve of this.waiting) resolve()
    this.waiting.clear()
  }
}

test('a response over a socket is that over HTTP, event for event', async () => {
  const talk = await Talk.open()
  talk.say(hello)
  const [end] = await talk.ends(1)
  const over: Told[] = []
  for await (const event of await client.responses.create({ ...hello, stream: true }))
    over.push(event as unknown as Told)
  expect(talk.told.map(({ type }) => type)).toEqual(over.map(({ type }) => type))
  expect(talk.told.map(({ delta }) => delta)).toEqual(over.map(({ delta }) => delta))
  expect(talk.told.map(({ sequence_number }) => sequence_number)).toEqual(talk.told.map((_, at) => at))
  expect(await client.responses.retrieve(end?.response?.id ?? '')).toMatchObject({
    output: end?.response?.output,
  })
  talk.socket.close()
})

test('what was not kept is continued on its own connection, and on no other', async () => {
  const talk = await Talk.open()
  talk.say({ ...hello, store: false })
  const [first] = await talk.ends(1)
  const previous_response_id = first?.response?.id
  talk.say({ ...hello, input: 'And?', previous_response_id, store: false })
  const [, second] = await talk.ends(2)
  expect(second?.response?.usage?.input_tokens).toBeGreaterThan(first?.response?.usage?.input_tokens ?? 1e9)
  talk.say({ ...hello, input: 'Then?', previous_response_id: second?.response?.id })
  const [, , third] = await talk.ends(3)
  expect(third?.response?.usage?.input_tokens).toBeGreaterThan(second?.response?.usage?.input_tokens ?? 1e9)
  const other = await Talk.open()
  other.say({ ...hello, previous_response_id })
  expect(await other.ends(1)).toMatchObject([
    {
      type: 'error',
      status: 400,
      error: { code: 'previous_response_not_found', param: 'previous_response_id' },
    },
  ])
  talk.socket.close()
  other.socket.close()
})

test('responses of a lane come one after the other, lanes beside each other; each event names its lane', async () => {
  const talk = await Talk.open()
  for (const stream_id of ['a', 'a', 'b']) talk.say({ ...hello, max_output_tokens: 40, stream_id })
  talk.say({ ...hello, max_output_tokens: 40 })
  const ends = await talk.ends(4)
  expect(ends.map(({ type }) => type)).toEqual(Array(4).fill('response.incomplete'))
  const lane = (name: string | undefined) => talk.told.filter(({ stream_id }) => stream_id === name)
  expect(lane('a').map(({ sequence_number }) => sequence_number)).toEqual([
    ...lane('b').map((_, at) => at),
    ...lane('b').map((_, at) => at),
  ])
  expect(lane(undefined)).toHaveLength(lane('b').length)
  // The second of lane a began after the first had ended, when those of other lanes had begun long since.
  const begins = talk.told.flatMap(({ type, stream_id }) => (type === 'response.created' ? [stream_id] : []))
  expect(begins.at(-1)).toBe('a')
  talk.socket.close()
})

test('what is wrong is told with the lane that it was said in, and ends nothing else', async () => {
  const talk = await Talk.open()
  const wrong = [
    [{ ...hello, model: 'nope', stream_id: 'x' }, 404, 'model_not_found', 'model'],
    [{ ...hello, stream: true }, 400, 'unsupported_parameter', 'stream'],
    [{ ...hello, background: true }, 400, 'unsupported_parameter', 'background'],
    [{ ...hello, temprature: 1 }, 400, 'unsupported_parameter', 'temprature'],
    [{ ...hello, stream_id: '' }, 400, 'invalid_value', 'stream_id'],
    [{ ...hello, type: 'response.destroy' }, 400, 'unknown_type', 'type'],
  ] as const
  for (const [at, [message, status, code, param]] of wrong.entries()) {
    talk.say(message)
    const ends = await talk.ends(at + 1)
    expect(ends.at(-1)).toMatchObject({ type: 'error', status, error: { code, param } })
  }
  expect(talk.told[0]?.stream_id).toBe('x')
  talk.say(hello)
  expect((await talk.ends(wrong.length + 1)).at(-1)?.type).toBe('response.incomplete')
  talk.socket.close()
})

test('a client that leaves ends what it asked for', async () => {
  const talk = await Talk.open()
  talk.say({ ...hello, max_output_tokens: 900, temperature: 1 })
  await expect.poll(() => talk.told.length).toBeGreaterThan(5)
  talk.socket.close()
  await server.logged(/\/v1\/responses \(WebSocket\)","status":499/)
})

test('without an upgrade, and without a key, the address is refused as HTTP', async () => {
  const headers = { authorization: `Bearer ${server.apiKey}` }
  expect((await fetch(`${server.url}/responses`, { headers })).status).toBe(426)
  const refused = new WebSocket(`${server.url.replace('http', 'ws')}/responses`)
  const status = await new Promise((resolve) => {
    refused.on('unexpected-response', (_request, response) => resolve(response.statusCode))
    refused.on('error', () => {})
  })
  expect(status).toBe(401)
})

test('a connection of age is told so before it is closed, and is to come back', async () => {
  const young = await startServer({ config: { realtime: { age: '2s' } } })
  const url = `${young.url.replace('http', 'ws')}/responses`
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${young.apiKey}` } })
  const told: unknown[] = []
  socket.on('message', (data) => told.push(JSON.parse(String(data))))
  const code = await new Promise((resolve) => socket.on('close', resolve))
  expect(told).toMatchObject([{ type: 'error', error: { code: 'websocket_connection_limit_reached' } }])
  expect(code).toBe(1001)
  expect(await young.stop()).toBe(0)
})

test('on /ws a response is a stream of its events, and its end proves the text', async () => {
  const socket = new WebSocket(`${server.origin.replace('http', 'ws')}/ws`, 'helixflow.v1', {
    headers: { authorization: `Bearer ${server.apiKey}` },
  })
  type Frame = { type: string; seq: number; text?: string; sha256?: string; data?: Told }
  const told: Frame[] = []
  const over = new Promise<void>((resolve) => {
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as Frame
      told.push(message)
      if (message.type === 'stream.end') resolve()
    })
  })
  await new Promise((resolve) => socket.on('open', resolve))
  socket.send(JSON.stringify({ type: 'hello' }))
  socket.send(JSON.stringify({ type: 'response.create', id: '1', request: hello }))
  await over
  const frames = told.filter(({ type }) => type.startsWith('stream.'))
  expect(frames.map(({ seq }) => seq)).toEqual(frames.map((_, at) => at + 1))
  expect(frames.map(({ data }) => data?.sequence_number)).toEqual(frames.map((_, at) => at))
  const text = frames.map((frame) => frame.text ?? '').join('')
  expect(frames.at(-1)?.sha256).toBe(createHash('sha256').update(text).digest('hex'))
  expect(frames.at(-1)?.data).toMatchObject({ type: 'response.incomplete' })
  socket.close()
})
