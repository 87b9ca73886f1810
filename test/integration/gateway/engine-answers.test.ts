import { Agent } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { GatewayBench, UPSTREAM_KEY } from '../../support/gateway-bench.ts'
import { eventsOf, type RawAnswer } from '../../support/raw-client.ts'
import {
  chatAnswer,
  chatEvent,
  type Script,
  type ScriptedUpstream,
  sendEvents,
  sendStream,
  sendWhole,
  type UpstreamCall,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let bench: GatewayBench
let upstream: ScriptedUpstream

beforeAll(async () => {
  bench = await GatewayBench.start()
  upstream = bench.upstream
})
beforeEach(() => upstream.play((call) => sendWhole(call, chatAnswer('hi'))))
afterAll(() => bench?.stop())

describe('an upstream that behaves', () => {
  test('has its chunks passed on as they are, and its end', async () => {
    upstream.play((call) => void sendStream(call, wholeStream(20)))
    const { status, text, ended } = await bench.ask({ stream: true })
    expect([status, ended]).toEqual([200, 'complete'])
    expect(text).toBe([...wholeStream(20).slice(0, 20), 'data: [DONE]\n\n'].join(''))
  })

  test('has its whole answer passed on', async () => {
    upstream.play((call) => sendWhole(call, chatAnswer('hi')))
    expect(await bench.ask()).toMatchObject({ status: 200, text: chatAnswer('hi'), ended: 'complete' })
  })

  test('is sent its own key and nothing that the caller says about itself', async () => {
    const headers = {
      'x-api-key': 'caller',
      'x-forwarded-for': '10.0.0.1',
      'openai-organization': 'org-caller',
      'x-stainless-lang': 'js',
      cookie: 'session=caller',
      'user-agent': 'caller/1.0',
      'x-client-request-id': 'caller-1',
      'api-base': 'http://169.254.169.254/',
    }
    await bench.ask({}, { headers })
    const [call] = upstream.calls
    expect(call?.path).toBe('/v1/chat/completions')
    expect(call?.headers).toEqual({
      authorization: `Bearer ${UPSTREAM_KEY}`,
      connection: 'keep-alive',
      'content-length': String(call?.body.length),
      'content-type': 'application/json',
      host: new URL(upstream.url).host,
    })
    expect(call?.body).not.toContain('caller')
  })

  test.each(['api_base', 'base_url', 'extra_headers', 'api_key'])(
    'never hears of a request that names %s',
    async (param) => {
      expect(parameterOf(await bench.ask({ [param]: 'http://169.254.169.254/' }))).toMatchObject({
        code: 'unsupported_parameter',
        param,
      })
      expect(upstream.calls).toHaveLength(0)
    },
  )

  function parameterOf({ text }: RawAnswer): object {
    return (JSON.parse(text) as { error: object }).error
  }
})

const CHUNKS = 20
const [FIRST = ''] = wholeStream(1)

describe('a stream that breaks', () => {
  /** After k events: the connection is cut, the answer ends as if it were complete, or half an event comes and then nothing. */
  const cuts: [string, (call: UpstreamCall) => void][] = [
    ['is cut', ({ socket }) => socket.destroy()],
    ['is reset', ({ socket }) => socket.resetAndDestroy()],
    ['ends without its last event', ({ response }) => response.end()],
    [
      'is cut in the middle of an event',
      ({ response, socket }) => response.write(FIRST.slice(0, 40), () => socket.destroy()),
    ],
    [
      'is cut between the two newlines of an event',
      ({ response, socket }) => response.write(FIRST.slice(0, -1), () => socket.destroy()),
    ],
  ]
  const places = Array.from({ length: CHUNKS + 1 }, (_, k) => k + 1)

  test.each(cuts)('%s: at every place an error event, no end, and no second call', async (_name, cut) => {
    const events = wholeStream(CHUNKS)
    for (const k of places) {
      upstream.play((call) => void sendEvents(call, events.slice(0, k)).then(() => cut(call)))
      const answer = await bench.ask({ stream: true, stream_options: { include_usage: true } })
      const { chunks } = bench.brokenStream(answer)
      // Usage is held back until the end of the stream is certain.
      expect(chunks, `after ${k} events`).toEqual(eventsOf(events.slice(0, Math.min(k, CHUNKS)).join('')))
      expect(upstream.calls, `after ${k} events`).toHaveLength(1)
    }
  })

  test.each(cuts)(
    '%s before its first event: a failure with a status of its own, and no second call',
    async (_name, cut) => {
      upstream.play((call) => void sendEvents(call, []).then(() => cut(call)))
      const answer = await bench.ask({ stream: true })
      expect(bench.failureOf(answer).status).toBe(502)
      expect(answer.headers['x-should-retry']).toBe('false')
      expect(upstream.calls).toHaveLength(1)
    },
  )

  test('into silence fails at the deadline for silence, and the upstream is left', async () => {
    upstream.play((call) => void sendEvents(call, wholeStream(CHUNKS).slice(0, 3)))
    const startedMs = performance.now()
    const { chunks, code } = bench.brokenStream(await bench.ask({ stream: true }))
    expect(performance.now() - startedMs).toBeLessThan(4_000)
    expect([chunks.length, code]).toEqual([3, 'deadline_exceeded'])
    await (await upstream.call(1)).closed
    expect(upstream.calls).toHaveLength(1)
  })
})

describe('an upstream that is gone before the first byte', () => {
  test('is asked once more, and the caller sees nothing of it', async () => {
    upstream.play((call) => {
      if (upstream.calls.length === 1) call.socket.resetAndDestroy()
      else sendWhole(call, chatAnswer('second'))
    })
    expect(await bench.ask()).toMatchObject({ status: 200, text: chatAnswer('second') })
    expect(upstream.calls).toHaveLength(2)
  })

  test('closes a connection that was kept open: the request goes out again on a new one', async () => {
    await bench.ask()
    const { socket: kept } = await upstream.call(1)
    upstream.play((call) => {
      if (call.socket === kept) call.socket.destroy()
      else void sendStream(call, wholeStream(2))
    })
    const { status, ended, text } = await bench.ask({ stream: true })
    expect([status, ended]).toEqual([200, 'complete'])
    expect(text).toContain('[DONE]')
    expect(upstream.calls.map(({ socket }) => socket === kept)).toEqual([true, false])
  })

  test.each([true, false])('twice is a failure that may be repeated (stream: %s)', async (stream) => {
    upstream.play(({ socket }) => socket.destroy())
    const answer = await bench.ask({ stream })
    expect(bench.failureOf(answer)).toEqual({ status: 502, code: 'upstream_unavailable' })
    expect(answer.headers['x-should-retry']).toBeUndefined()
    expect(Number(answer.headers['retry-after-ms'])).toBeGreaterThanOrEqual(1_000)
    expect(upstream.calls).toHaveLength(2)
  })

  test.each([true, false])(
    'or was never there is a failure that may be repeated (stream: %s)',
    async (stream) => {
      const startedMs = performance.now()
      const answer = await bench.ask({ model: 'gone', stream })
      expect(bench.failureOf(answer)).toEqual({ status: 502, code: 'upstream_unavailable' })
      expect(answer.headers['x-should-retry']).toBeUndefined()
      // A refused connection cost nobody anything; it is tried a few times, with pauses.
      expect(performance.now() - startedMs).toBeLessThan(5_000)
    },
  )

  test('says nothing at all: a stream fails at the deadline for the first byte', async () => {
    upstream.play(() => {})
    const startedMs = performance.now()
    expect(bench.failureOf(await bench.ask({ stream: true }))).toEqual({
      status: 504,
      code: 'upstream_timeout',
    })
    expect(performance.now() - startedMs).toBeLessThan(4_000)
    await (await upstream.call(1)).closed
    expect(upstream.calls).toHaveLength(1)
  })

  test('says nothing at all: a whole answer fails at the deadline for the request', async () => {
    upstream.play(() => {})
    const answer = await bench.ask()
    expect(bench.failureOf(answer).status).toBe(504)
    await (await upstream.call(1)).closed
    expect(upstream.calls).toHaveLength(1)
  })
})

describe('a caller that leaves', () => {
  const TIMES = 5

  async function leaveAndMeasure(leaveWhen: (text: string) => boolean, script: Script): Promise<number[]> {
    const lags: number[] = []
    for (let time = 0; time < TIMES; time++) {
      upstream.play(script)
      let leftMs = Number.NaN
      await bench.ask(
        { stream: true },
        {
          leaveWhen: (text) => {
            if (!leaveWhen(text)) return false
            leftMs = performance.now()
            return true
          },
        },
      )
      const call = await upstream.call(1)
      lags.push((await call.closed) - leftMs)
      expect(upstream.calls).toHaveLength(1)
    }
    return lags.sort((a, b) => a - b)
  }

  /** The middle one: a machine that is busy elsewhere may delay a single one. */
  function expectSoon(lags: readonly number[]): void {
    expect(lags[Math.floor(lags.length / 2)]).toBeLessThan(100)
    expect(lags.at(-1)).toBeLessThan(1_000)
  }

  test.each([1, 10])('at token %i takes the upstream connection with it within 100 ms', async (token) => {
    const endless: Script = (call) => {
      void sendEvents(call, [])
      let sent = 0
      const timer = setInterval(() => call.response.write(chatEvent(`t${sent++} `)), 5)
      void call.closed.then(() => clearInterval(timer))
    }
    expectSoon(
      await leaveAndMeasure(
        (text) => eventsOf(text.slice(0, text.lastIndexOf('\n\n'))).length >= token,
        endless,
      ),
    )
  })

  test.each([true, false])(
    'before the first byte takes the upstream connection with it within 100 ms (stream: %s)',
    async (stream) => {
      const lags: number[] = []
      for (let time = 0; time < TIMES; time++) {
        upstream.play(() => {})
        const agent = new Agent()
        const asking = bench.ask({ stream }, { agent })
        const call = await upstream.call(1)
        const leftMs = performance.now()
        agent.destroy()
        await expect(asking).rejects.toThrow()
        lags.push((await call.closed) - leftMs)
      }
      expectSoon(lags.sort((a, b) => a - b))
    },
  )

  test('is logged as 499, without a word of what was asked', async () => {
    upstream.play((call) => void sendEvents(call, [chatEvent('canary-answer')]))
    const { headers } = await bench.ask(
      { stream: true, messages: [{ role: 'user', content: 'canary-question' }] },
      { leaveWhen: () => true },
    )
    const [line] = await bench.server.logged(new RegExp(`"request":"${headers['x-request-id']}"[^\\n]*`))
    expect(line).toContain('"status":499')
    for (const secret of ['canary-', UPSTREAM_KEY, bench.server.apiKey])
      expect(bench.server.log()).not.toContain(secret)
  })
})
