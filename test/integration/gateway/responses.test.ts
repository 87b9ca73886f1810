import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { seededRandom } from '../../../src/core/random.ts'
import { type CutRead, readCut, type SseEvent } from '../../support/cut-reader.ts'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { post } from '../../support/raw-client.ts'
import {
  chatEvent,
  type ScriptedUpstream,
  sendEvents,
  sendStream,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let bench: GatewayBench
let upstream: ScriptedUpstream
let headers: Record<string, string>
beforeAll(async () => {
  bench = await GatewayBench.start()
  upstream = bench.upstream
  headers = { authorization: `Bearer ${bench.server.apiKey}`, 'content-type': 'application/json' }
})
beforeEach(() => upstream.play((call) => void sendStream(call, wholeStream(3))))
afterAll(() => bench?.stop())

const ask = (change: object = {}, more: Record<string, string> = {}) =>
  post(`${bench.server.url}/responses`, {
    headers: { ...headers, ...more },
    body: JSON.stringify({ model: 'far', input: 'Hello', ...change }),
  })

const get = (path: string, more: Record<string, string> = {}) =>
  fetch(`${bench.server.url}${path}`, { headers: { ...headers, ...more } })

const dataLines = (text: string) => text.split('\n').filter((line) => line.startsWith('data: '))

const dataOf = (events: readonly SseEvent[]) =>
  events.filter(({ data }) => data !== '[DONE]').map(({ data }) => JSON.parse(data))

describe('an answer', () => {
  test('is asked of the engine as a chat, and told as a response', async () => {
    const { status, text, headers: told } = await ask({ instructions: 'Be brief.', max_output_tokens: 9 })
    expect(status, text).toBe(200)
    expect(JSON.parse((await upstream.call(1)).body)).toMatchObject({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hello' },
      ],
      max_tokens: 9,
      stream: true,
    })
    expect(JSON.parse(text)).toMatchObject({
      status: 'completed',
      output: [{ content: [{ text: 't0 t1 t2 ' }] }],
      usage: { input_tokens: 3, output_tokens: 3 },
    })
    expect(told).toMatchObject({ 'x-helixflow-model': 'far', 'x-request-id': expect.stringMatching(/^req_/) })
  })

  test.each([false, true])(
    'that fails before its first word is refused as any other (stream %s)',
    async (stream) => {
      upstream.play(({ response }) => response.writeHead(500).end('{}'))
      expect(bench.failureOf(await ask({ stream }))).toEqual({ status: 502, code: 'upstream_unavailable' })
    },
  )

  test('that breaks off is a failed response, and then the stream ends as streams do', async () => {
    upstream.play((call) => void sendEvents(call, [chatEvent('a')]).then(() => call.socket.destroy()))
    const { status, text, ended } = await ask({ stream: true })
    expect([status, ended]).toEqual([200, 'complete'])
    const last = JSON.parse(text.trim().split('\n').at(-1)?.replace('data: ', '') ?? '')
    expect(last).toMatchObject({
      type: 'response.failed',
      response: { status: 'failed', error: { code: 'server_error' } },
    })
    upstream.play((call) => void sendEvents(call, [chatEvent('a')]).then(() => call.socket.destroy()))
    expect(bench.failureOf(await ask())).toEqual({ status: 502, code: 'engine_failed' })
    const kept = await get(`/responses/${last.response.id}`)
    expect(await kept.json()).toMatchObject({ status: 'failed', output: [{ status: 'incomplete' }] })
  })

  test('that breaks off in the background is told as failed from any point', async () => {
    upstream.play((call) => void sendEvents(call, [chatEvent('a')]).then(() => call.socket.destroy()))
    const { text } = await ask({ stream: true, background: true })
    const data = dataLines(text)
    const told = data.map((line) => JSON.parse(line.slice('data: '.length)))
    const { id } = told[0].response
    for (const { sequence_number } of told.slice(0, -1)) {
      const read = await get(`/responses/${id}?stream=true&starting_after=${sequence_number}`)
      expect(read.status).toBe(200)
      expect(dataLines(await read.text())).toEqual(data.slice(sequence_number + 1))
    }
  })

  test('with an event that is no JSON is the upstream’s failure, in every form', async () => {
    const nonsense = 'data: {"choices": nonsense}\n\n'
    upstream.play((call) => void sendStream(call, [nonsense, 'data: [DONE]\n\n']))
    expect(bench.failureOf(await ask())).toEqual({ status: 502, code: 'upstream_invalid_response' })
    upstream.play((call) => void sendStream(call, [chatEvent('a'), nonsense, 'data: [DONE]\n\n']))
    const { text } = await ask({ stream: true })
    expect(text).toContain('event: response.failed')
  })
})

describe('on a socket', () => {
  interface Told {
    readonly type: string
    readonly response: { readonly id: string; readonly store: boolean }
  }

  /** Asks, and gives the last event of the answer. */
  async function open() {
    const socket = new WebSocket(`${bench.server.url}/responses`, { headers })
    await once(socket, 'open')
    const last = (change: object) =>
      new Promise<Told>((resolve) => {
        const hear = (data: unknown) => {
          const event = JSON.parse(String(data)) as Told
          if (!/^(error|response\.(completed|failed))$/.test(event.type)) return
          socket.off('message', hear)
          resolve(event)
        }
        socket.on('message', hear)
        socket.send(JSON.stringify({ type: 'response.create', model: 'far', input: 'x', ...change }))
      })
    return { last, close: () => socket.close() }
  }

  test('a response that breaks off is not continued, although nothing of it is kept', async () => {
    const { last, close } = await open()
    upstream.play((call) => void sendEvents(call, [chatEvent('a')]).then(() => call.socket.destroy()))
    const { type, response } = await last({ store: false })
    expect(type).toBe('response.failed')
    expect(await last({ previous_response_id: response.id })).toMatchObject({
      error: { code: 'previous_response_not_found' },
    })
    close()
  })

  test('one that is kept continues one that is not, and is continued itself', async () => {
    const { last, close } = await open()
    const first = await last({ store: false })
    const second = await last({ previous_response_id: first.response.id })
    expect([second.type, second.response.store]).toEqual(['response.completed', true])
    const third = await last({ previous_response_id: second.response.id })
    expect(third.type).toBe('response.completed')
    expect(JSON.parse((await upstream.call(3)).body).messages).toHaveLength(5)
    const elsewhere = await ask({ previous_response_id: second.response.id })
    expect(JSON.parse(elsewhere.text)).toMatchObject({ error: { code: 'previous_response_not_found' } })
    close()
  })
})

describe('a client that leaves', () => {
  test.each([false, true])('ends its response (stream %s)', async (stream) => {
    upstream.play((call) => void sendEvents(call, [chatEvent('a')]))
    const leaving = new AbortController()
    const answer = fetch(`${bench.server.url}/responses`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ model: 'far', input: 'x', stream }),
      signal: leaving.signal,
    })
    const call = await upstream.call(1)
    if (stream) await answer
    leaving.abort()
    await answer.catch(() => {})
    await call.closed
  })

  test('of one in the background changes nothing', async () => {
    let finish = () => {}
    upstream.play((call) => {
      void sendEvents(call, [chatEvent('a')])
      finish = () => void call.response.end(`${chatEvent('b', 'stop')}data: [DONE]\n\n`)
    })
    const read = await readCut(`${bench.server.url}/responses`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ model: 'far', input: 'x', stream: true, background: true }),
      cutAfterBytes: 1_500,
    })
    const id = dataOf(read.events)[0].response.id
    await upstream.call(1)
    expect(await (await get(`/responses/${id}`)).json()).toMatchObject({ background: true })
    finish()
    const status = async () => ((await (await get(`/responses/${id}`)).json()) as { status: string }).status
    await expect.poll(status).toBe('completed')
  })
})

/** Reads a stream to its end over as many connections as are cut, and gives all events in the order they came. */
async function readThrough(
  begin: (cutAfterBytes: number) => Promise<CutRead>,
  goOn: (last: SseEvent | undefined, begun: CutRead, cutAfterBytes: number | undefined) => Promise<CutRead>,
  cuts: readonly number[],
): Promise<readonly SseEvent[]> {
  const [first = 0, ...others] = cuts
  const begun = await begin(first)
  const events = [...begun.events]
  for (const cut of [...others, undefined]) {
    const read = await goOn(events.at(-1), begun, cut)
    expect(read.status).toBe(200)
    events.push(...read.events)
  }
  return events
}

const CHUNKS = 60
const TEXT = Array.from({ length: CHUNKS }, (_, at) => `t${at} `).join('')

describe('a stream that is cut at any byte, fifty times', () => {
  const random = seededRandom(5)
  const runs = Array.from({ length: 25 }, () => {
    // Some cuts come before the first event, some after the last.
    return [Math.floor(random.uniform() * 6_000), Math.floor(random.uniform() * 6_000)]
  })
  beforeEach(() => upstream.play((call) => void sendStream(call, wholeStream(CHUNKS))))

  test('of chat is continued by Last-Event-ID: every chunk once, the usage, the end', async () => {
    const body = {
      model: 'far',
      messages: [{ role: 'user', content: 'x' }],
      stream: true,
      stream_options: { include_usage: true },
    }
    for (const cuts of runs) {
      const events = await readThrough(
        (cutAfterBytes) =>
          readCut(`${bench.server.url}/chat/completions`, {
            method: 'POST',
            headers: { ...headers, 'x-helixflow-detach': '30s' },
            body: JSON.stringify(body),
            cutAfterBytes,
          }),
        (last, begun, cutAfterBytes) =>
          readCut(`${bench.server.url}/streams/${begun.headers['x-helixflow-stream']}`, {
            headers: { ...headers, ...(last?.id === undefined ? {} : { 'last-event-id': last.id }) },
            cutAfterBytes,
          }),
        cuts,
      )
      const chunks = dataOf(events)
      const text = chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')
      expect(text, `cut at ${cuts}`).toBe(TEXT)
      expect(chunks.filter(({ usage }) => usage)).toHaveLength(1)
      expect(events.at(-1)?.data).toBe('[DONE]')
      expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
    }
  })

  test('of a response is continued by starting_after: every number once, the same text in every form', async () => {
    for (const cuts of runs) {
      const create = { model: 'far', input: 'x', stream: true, background: true }
      let id = ''
      const events = await readThrough(
        (cutAfterBytes) =>
          readCut(`${bench.server.url}/responses`, {
            method: 'POST',
            headers,
            body: JSON.stringify(create),
            cutAfterBytes,
          }),
        (last, begun, cutAfterBytes) => {
          id = String(begun.headers['x-helixflow-stream'])
          const after = last ? `&starting_after=${JSON.parse(last.data).sequence_number}` : ''
          return readCut(`${bench.server.url}/responses/${id}?stream=true${after}`, {
            headers,
            cutAfterBytes,
          })
        },
        cuts,
      )
      const told = dataOf(events)
      expect(
        told.map(({ sequence_number }) => sequence_number),
        `cut at ${cuts}`,
      ).toEqual(Array.from({ length: told.length }, (_, at) => at))
      const deltas = told
        .filter(({ type }) => type === 'response.output_text.delta')
        .map(({ delta }) => delta)
      const { response } = told.at(-1)
      expect(deltas.join('')).toBe(TEXT)
      expect(response.output[0].content[0].text).toBe(TEXT)
      expect(sha256(deltas.join(''))).toBe(sha256(response.output[0].content[0].text))
      expect(events.every(({ name, data }) => name === JSON.parse(data).type)).toBe(true)
      const kept = (await (await get(`/responses/${id}`)).json()) as { output: unknown }
      expect(kept.output).toEqual(response.output)
    }
  })
})

test('who follows a response and comes back by Last-Event-ID gets what follows, whatever the address says', async () => {
  const { text } = await ask({ stream: true, background: true })
  const id = JSON.parse(dataLines(text)[0]?.slice('data: '.length) ?? '').response.id
  const ids = [...text.matchAll(/^id: (.+)$/gm)].map(([, one]) => String(one))
  for (const address of [`/responses/${id}?stream=true`, `/responses/${id}?stream=true&starting_after=0`]) {
    for (const [at, one] of ids.entries()) {
      const read = await get(address, { 'last-event-id': one })
      expect(dataLines(await read.text())).toEqual(dataLines(text).slice(at + 1))
    }
    expect((await get(address, { 'last-event-id': 'x/1' })).status).toBe(410)
    expect((await get(address, { 'last-event-id': 'x' })).status).toBe(400)
  }
})

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

describe('a stream that can be read again', () => {
  const begin = async (change: object = {}, detach = '30s') => {
    const answer = await fetch(`${bench.server.url}/chat/completions`, {
      method: 'POST',
      headers: { ...headers, 'x-helixflow-detach': detach },
      body: JSON.stringify({
        model: 'far',
        messages: [{ role: 'user', content: 'x' }],
        stream: true,
        ...change,
      }),
    })
    return { answer, id: answer.headers.get('x-helixflow-stream') ?? '' }
  }

  test('is cancelled on request, once; who reads it is told by a cut', async () => {
    upstream.play((call) => void sendEvents(call, [chatEvent('a')]))
    const { answer, id } = await begin()
    const text = answer.text().catch((reason: unknown) => reason)
    const cancel = async () =>
      (await fetch(`${bench.server.url}/streams/${id}`, { method: 'DELETE', headers })).json()
    expect(await cancel()).toEqual({ id, object: 'stream', cancelled: true })
    expect(await text).toBeInstanceOf(Error)
    await (await upstream.call(1)).closed
    expect(await cancel()).toEqual({ id, object: 'stream', cancelled: false })
  })

  test('is cancelled when nobody has read it for the time that was said', async () => {
    upstream.play((call) => void sendEvents(call, [chatEvent('a')]))
    const { answer } = await begin({}, '50ms')
    await answer.body?.cancel()
    await (await upstream.call(1)).closed
  })

  test('tells why it cannot be continued', async () => {
    const { answer, id } = await begin()
    const [, epoch] = /id: (\w+)\//.exec(await answer.text()) ?? []
    const refused = async (path: string, lastEventId?: string) => {
      const told = await get(path, lastEventId === undefined ? {} : { 'last-event-id': lastEventId })
      const { error } = (await told.json()) as { error: { code: string; message: string } }
      return [told.status, error.code, told.headers.get('x-helixflow-reason')]
    }
    expect(await refused(`/streams/${id}`, `${'0'.repeat(16)}/2`)).toEqual([
      410,
      'stream_unrecoverable',
      'epoch',
    ])
    expect(await refused(`/streams/${id}`, `${epoch}/99`)).toEqual([410, 'stream_unrecoverable', 'gap'])
    expect(await refused(`/streams/${id}`, 'x')).toEqual([400, 'invalid_value', null])
    expect(await refused(`/streams/str_${'0'.repeat(32)}`)).toEqual([404, 'not_found', 'not_found'])
  })

  test.each([
    ['30', {}],
    ['11m', {}],
    ['30s', { stream: false }],
  ])('is not to be had with %s and %j', async (detach, change) => {
    const { answer } = await begin(change, detach)
    expect(await answer.json()).toMatchObject({
      error: { code: 'invalid_value', param: 'x-helixflow-detach' },
    })
  })

  test.each([[{}], [{ stream: true, background: true }]])('nor of a response with %j', async (change) => {
    const { status, text } = await ask(change, { 'x-helixflow-detach': '30s' })
    expect([status, JSON.parse(text).error.param]).toEqual([400, 'x-helixflow-detach'])
  })

  test('says the same as a chat without it', async () => {
    const direct = await bench.ask({ stream: true, stream_options: { include_usage: true } })
    const { answer } = await begin({ stream_options: { include_usage: true } })
    const said = (text: string) =>
      text
        .split('\n')
        .filter((line) => line.startsWith('data: {'))
        .map((line) => JSON.parse(line.slice(6)))
    const withoutOpening = said(await answer.text()).slice(1)
    expect(withoutOpening).toEqual(said(direct.text).map((chunk) => expect.objectContaining(chunk)))
  })
})
