import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { CachingBench } from '../../support/caching-bench.ts'
import { eventsOf, type RawAnswer } from '../../support/raw-client.ts'
import {
  chatAnswer,
  chatEvent,
  flood,
  sendEvents,
  sendStream,
  sendWhole,
  type UpstreamCall,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let bench: CachingBench
beforeEach(async () => {
  bench = await CachingBench.start()
})
afterEach(() => bench.stop())

const states = (answers: readonly RawAnswer[]) =>
  answers.map(({ headers }) => headers['x-helixflow-cache']).sort()
const usages = () =>
  bench.seen.flatMap(({ settlements }) => settlements.map(({ usage }) => usage.completionTokens))

/** Waits until so many requests follow a flight. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}

/** The upstream waits with its answer until the test says so. */
function held(): { calls: Promise<UpstreamCall> } {
  let tell: (call: UpstreamCall) => void = () => {}
  const calls = new Promise<UpstreamCall>((resolve) => {
    tell = resolve
  })
  bench.upstream.play((call) => tell(call))
  return { calls }
}

describe('five hundred requests that are the same', () => {
  test.each([false, true])(
    'at once (stream: %s) are one call of the upstream, and each gets the same answer',
    async (stream) => {
      bench.upstream.play((call) => {
        setTimeout(() => {
          if (stream) void sendStream(call, wholeStream(20))
          else sendWhole(call, chatAnswer('once'))
        }, 1_000)
      })
      const answers = await Promise.all(Array.from({ length: 500 }, () => bench.ask({ stream })))
      expect(bench.upstream.calls).toHaveLength(1)
      expect(new Set(answers.map(({ status, text, ended }) => `${status} ${ended} ${text}`)).size).toBe(1)
      expect(answers[0]?.text).toContain(stream ? '[DONE]' : 'once')
      expect(states(answers).filter((one) => one === 'miss')).toHaveLength(1)
      expect(states(answers).filter((one) => one === 'coalesced')).toHaveLength(499)
      expect(usages().filter((tokens) => tokens > 0)).toHaveLength(1)
      expect(usages()).toHaveLength(500)
      const paid = bench.seen
        .flatMap(({ settlements }) => settlements)
        .filter(({ cache }) => cache === undefined)
      expect(paid).toHaveLength(1)
    },
  )

  test('get the failure of the upstream, all of them, after one call', async () => {
    const call = held()
    const asked = Array.from({ length: 500 }, () => bench.ask())
    const { response } = await call.calls
    await until(() => bench.seen.length === 500)
    response.writeHead(500, { 'content-type': 'application/json' }).end('{"error":{"message":"No."}}')
    const answers = await Promise.all(asked)
    expect(bench.upstream.calls).toHaveLength(1)
    for (const { status, text, ended } of answers) {
      expect([status, ended]).toEqual([502, 'complete'])
      expect(JSON.parse(text).error.code).toBe('upstream_unavailable')
    }
    // Nothing of it is kept.
    bench.upstream.play((again) => sendWhole(again, chatAnswer('better')))
    expect((await bench.ask()).text).toContain('better')
  })
})

test('who is in a hurry does not wait with one who is not, who may wait with one in a hurry', async () => {
  const upstreamCalls: UpstreamCall[] = []
  bench.upstream.play((call) => void upstreamCalls.push(call))
  const flex = bench.ask({ service_tier: 'flex' })
  await until(() => upstreamCalls.length === 1)
  const urgent = bench.ask({ service_tier: 'priority' })
  await until(() => upstreamCalls.length === 2)
  const late = bench.ask({ service_tier: 'flex' })
  await until(() => bench.seen.length === 3)
  for (const call of upstreamCalls) sendWhole(call, chatAnswer('once'))
  expect(states(await Promise.all([flex, urgent, late]))).toEqual(['coalesced', 'miss', 'miss'])
  expect(upstreamCalls).toHaveLength(2)
})

describe('who began it', () => {
  test.each([false, true])(
    'may leave (stream: %s): the others get their answer, still of one call',
    async (stream) => {
      const call = held()
      const leader = bench
        .ask({ stream }, { headers: { 'x-label': 'leader' }, timeoutMs: 200 })
        .catch(() => 'left')
      const upstream = await call.calls
      const others = Array.from({ length: 5 }, () => bench.ask({ stream }))
      await until(() => bench.seen.length === 6)
      expect(await leader).toBe('left')
      await bench.of('leader')[0]?.over
      if (stream) await sendStream(upstream, wholeStream(4))
      else sendWhole(upstream, chatAnswer('for the others'))
      for (const { status, ended, text } of await Promise.all(others)) {
        expect([status, ended]).toEqual([200, 'complete'])
        expect(text).toContain(stream ? '[DONE]' : 'for the others')
      }
      expect(bench.upstream.calls).toHaveLength(1)
      expect(bench.of('leader')[0]?.settlements).toMatchObject([{ error: { code: 'client_closed_request' } }])
      expect(usages().filter((tokens) => tokens > 0)).toHaveLength(1)
    },
  )

  test('loses its key: its own stream ends with that, and nobody else notices', async () => {
    const call = held()
    const first = bench.ask({ stream: true }, { headers: { 'x-label': 'first' } })
    const upstream = await call.calls
    const second = bench.ask({ stream: true })
    await until(() => bench.seen.length === 2)
    await sendEvents(upstream, [chatEvent('a '), chatEvent('b ')])
    bench.of('first')[0]?.end(new HelixError('api_key_revoked', 'This API key was revoked.'))
    const cut = await first
    expect(cut.ended).toBe('cut')
    expect(eventsOf(cut.text).at(-1)).toMatchObject({ error: { code: 'api_key_revoked' } })
    upstream.response.write(chatEvent('c ', 'stop'))
    upstream.response.end('data: [DONE]\n\n')
    const whole = await second
    expect([whole.status, whole.ended]).toEqual([200, 'complete'])
    expect(eventsOf(whole.text)).toHaveLength(4)
    expect(bench.upstream.calls).toHaveLength(1)
  })

  test('alone, and leaves: the upstream is told to stop, and what it cost is told', async () => {
    bench.upstream.play((call) => void sendEvents(call, [chatEvent('a '), chatEvent('b ')]))
    await bench.ask(
      { stream: true },
      { headers: { 'x-label': 'one' }, leaveWhen: (text) => text.includes('b ') },
    )
    const [call] = bench.upstream.calls
    await call?.closed
    await bench.of('one')[0]?.over
    expect(bench.of('one')[0]?.settlements).toMatchObject([
      { worked: true, error: { code: 'client_closed_request' }, usage: { completionTokens: 2 } },
    ])
    // Nobody joins what was given up.
    bench.upstream.play((again) => void sendStream(again, wholeStream(2)))
    expect((await bench.ask({ stream: true })).headers['x-helixflow-cache']).toBe('miss')
  })

  test('cannot be charged: it gets no answer, and the next one pays', async () => {
    bench.record = (label, { error }) => {
      if (label === 'poor' && !error) throw new HelixError('storage_unavailable', 'no room')
    }
    const call = held()
    const poor = bench.ask({}, { headers: { 'x-label': 'poor' } })
    const upstream = await call.calls
    const other = bench.ask({}, { headers: { 'x-label': 'other' } })
    await until(() => bench.seen.length === 2)
    sendWhole(upstream, chatAnswer('x'))
    expect((await poor).status).toBe(503)
    expect((await other).status).toBe(200)
    expect(bench.of('other')[0]?.settlements).toMatchObject([{ usage: { completionTokens: 5 } }])
  })
})

describe('a stream that is joined midway', () => {
  test('is the same, byte for byte, for who came first and who came later', async () => {
    const call = held()
    const first = bench.ask({ stream: true })
    const upstream = await call.calls
    await sendEvents(upstream, [chatEvent('a '), chatEvent('\u00fc ')])
    const later: Promise<RawAnswer>[] = []
    for (let at = 0; at < 10; at++) {
      later.push(bench.ask({ stream: true }))
      await until(() => bench.seen.length === at + 2)
      upstream.response.write(chatEvent(`${at} `))
    }
    upstream.response.end('data: [DONE]\n\n')
    const whole = await first
    expect(eventsOf(whole.text)).toHaveLength(13)
    for (const { text, ended } of await Promise.all(later)) {
      expect(ended).toBe('complete')
      expect(text).toBe(whole.text)
    }
    expect(bench.upstream.calls).toHaveLength(1)
  })

  test('breaks for all of them with an error event and a cut, each after what it got', async () => {
    const call = held()
    const asked = [bench.ask({ stream: true })]
    const upstream = await call.calls
    asked.push(bench.ask({ stream: true }), bench.ask())
    await until(() => bench.seen.length === 3)
    await sendEvents(upstream, [chatEvent('a ')])
    upstream.socket.destroy()
    const [first, second, whole] = await Promise.all(asked)
    for (const one of [first, second]) {
      expect(one?.ended).toBe('cut')
      expect(eventsOf(one?.text ?? '').at(-1)).toMatchObject({ error: { code: 'engine_failed' } })
    }
    expect(whole?.status).toBe(502)
    expect(bench.upstream.calls).toHaveLength(1)
    expect(usages().filter((tokens) => tokens > 0)).toHaveLength(1)
  })

  test('gives the usage to who asked for it and to nobody else', async () => {
    const call = held()
    const plain = bench.ask({ stream: true })
    const upstream = await call.calls
    const counted = bench.ask({ stream: true, stream_options: { include_usage: true } })
    await until(() => bench.seen.length === 2)
    await sendStream(upstream, wholeStream(3))
    expect((await plain).text).not.toContain('"usage"')
    const events = eventsOf((await counted).text)
    expect(events.at(-2)).toMatchObject({ id: 'chatcmpl-1', choices: [], usage: { completion_tokens: 3 } })
    expect(events.at(-1)).toBe('[DONE]')
  })
})

describe('a client that does not read', () => {
  const big = chatEvent('x'.repeat(8_000))

  test('neither holds up the others nor makes the gateway keep more than it may', async () => {
    await bench.stop()
    bench = await CachingBench.start({
      answerBytesMax: 2 ** 20,
      stallTimeoutMs: 30_000,
      requestDeadlineMs: 30_000,
    })
    const call = held()
    const slow = stalled()
    const upstream = await call.calls
    const fast = bench.ask({ stream: true })
    await until(() => bench.seen.length === 2)
    upstream.response.writeHead(200, { 'content-type': 'text/event-stream' })
    await flood(upstream, big, 24 * 2 ** 20)
    const answer = await fast
    expect(answer.text.length).toBeGreaterThan(20 * 2 ** 20)
    expect(slow.failure()).toMatchObject({ code: 'deadline_exceeded' })
    slow.leave()
  })

  test('alone holds up the upstream instead, when the answer is larger than what is kept', async () => {
    await bench.stop()
    bench = await CachingBench.start({ answerBytesMax: 2 ** 18, stallTimeoutMs: 1_000 })
    const call = held()
    const slow = stalled()
    const upstream = await call.calls
    upstream.response.writeHead(200, { 'content-type': 'text/event-stream' })
    const sentBytes = await flood(upstream, big, 2 ** 28)
    expect(sentBytes).toBeLessThan(2 ** 25)
    await bench.seen[0]?.over
    expect(slow.failure()).toMatchObject({ code: 'deadline_exceeded' })
    slow.leave()
  })

  /** A client that asks for a stream and never reads of it. */
  function stalled() {
    const { hostname, port } = new URL(bench.url)
    const socket = connect(Number(port), hostname).pause()
    socket.on('error', () => {})
    const body = JSON.stringify({
      model: 'far',
      messages: [{ role: 'user', content: 'Hello' }],
      temperature: 0,
      stream: true,
    })
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n` +
        `x-label: slow\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
    return {
      failure: () => bench.of('slow')[0]?.settlements[0]?.error,
      leave: () => socket.destroy(),
    }
  }
})
