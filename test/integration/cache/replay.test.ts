import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { CachedAnswer } from '../../../src/cache/cached-answer.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { CachingBench, type CachingBenchOptions } from '../../support/caching-bench.ts'
import { eventsOf, type RawAnswer } from '../../support/raw-client.ts'
import {
  chatAnswer,
  chatEvent,
  sendEvents,
  sendStream,
  sendWhole,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let bench: CachingBench
beforeEach(async () => {
  bench = await CachingBench.start()
})
afterEach(() => bench.stop())

async function restart(options: CachingBenchOptions): Promise<void> {
  await bench.stop()
  bench = await CachingBench.start(options)
}

const state = ({ headers }: RawAnswer) => headers['x-helixflow-cache']
const wish = (word: string, more: Record<string, string> = {}) => ({
  headers: { 'x-helixflow-cache': word, ...more },
})
const calls = () => bench.upstream.calls.length
/** The upstream answers each call with its number. */
const numbered = () => {
  bench.upstream.play((call) => sendWhole(call, chatAnswer(`answer ${calls()}`)))
}

const HEAD = { id: 'chatcmpl-9', created: 1_700_000_001, model: 'far', system_fingerprint: 'fp_1' }
const USAGE = {
  prompt_tokens: 3,
  completion_tokens: 5,
  total_tokens: 8,
  prompt_tokens_details: { cached_tokens: 1 },
}
const LOGPROBS = { content: [{ token: 'Hi', logprob: -0.5, bytes: [72, 105], top_logprobs: [] }] }
const CALLS = [
  { id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } },
  { id: 'call_2', type: 'function', function: { name: 'g', arguments: '{}' } },
]
const whole = (choices: object[]) =>
  JSON.stringify({ ...HEAD, object: 'chat.completion', choices, usage: USAGE })
const chunk = (choices: object[]) =>
  `data: ${JSON.stringify({ ...HEAD, object: 'chat.completion.chunk', choices })}\n\n`
const usageChunk = `data: ${JSON.stringify({ ...HEAD, object: 'chat.completion.chunk', choices: [], usage: USAGE })}\n\n`
const DONE = 'data: [DONE]\n\n'

/** The same answer in both forms. */
const FORMS = {
  text: {
    whole: whole([
      {
        index: 0,
        message: { role: 'assistant', content: 'Hi you' },
        logprobs: LOGPROBS,
        finish_reason: 'stop',
      },
    ]),
    stream: [
      chunk([{ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }]),
      chunk([{ index: 0, delta: { content: 'Hi' }, logprobs: LOGPROBS, finish_reason: null }]),
      chunk([{ index: 0, delta: { content: ' you' }, logprobs: null, finish_reason: null }]),
      chunk([{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }]),
      usageChunk,
      DONE,
    ],
  },
  'tool calls': {
    whole: whole([
      {
        index: 0,
        message: { role: 'assistant', content: null, tool_calls: CALLS },
        logprobs: null,
        finish_reason: 'tool_calls',
      },
    ]),
    stream: [
      chunk([{ index: 0, delta: { role: 'assistant', content: null }, finish_reason: null }]),
      ...CALLS.flatMap((call, index) => [
        chunk([
          {
            index: 0,
            delta: { tool_calls: [{ index, ...call, function: { ...call.function, arguments: '' } }] },
            finish_reason: null,
          },
        ]),
        chunk([
          {
            index: 0,
            delta: { tool_calls: [{ index, function: { arguments: call.function.arguments } }] },
            finish_reason: null,
          },
        ]),
      ]),
      chunk([{ index: 0, delta: {}, finish_reason: 'tool_calls' }]),
      usageChunk,
      DONE,
    ],
  },
} as const

/** What a client of the official kind makes of a stream. */
function assembled(text: string) {
  const chunks = eventsOf(text).filter((one) => one !== '[DONE]') as {
    choices: {
      delta: Record<string, unknown>
      logprobs?: { content?: unknown[] } | null
      finish_reason: string | null
    }[]
  }[]
  let content: string | null = null
  const logprobs: unknown[] = []
  const calls: { id?: string; type?: string; function: { name: string; arguments: string } }[] = []
  let finish: string | null = null
  for (const { delta, logprobs: told, finish_reason } of chunks.flatMap(({ choices }) => choices)) {
    if (typeof delta['content'] === 'string' && delta['content'] !== '')
      content = (content ?? '') + delta['content']
    for (const call of (delta['tool_calls'] ?? []) as {
      index: number
      id?: string
      function: { name?: string; arguments: string }
    }[]) {
      const at = calls[call.index] ?? { function: { name: '', arguments: '' } }
      if (call.id !== undefined) Object.assign(at, { id: call.id, type: 'function' })
      at.function.name += call.function.name ?? ''
      at.function.arguments += call.function.arguments
      calls[call.index] = at
    }
    logprobs.push(...(told?.content ?? []))
    finish = finish_reason ?? finish
  }
  return { content, calls, logprobs, finish }
}

describe('an answer is given again', () => {
  test.each([false, true])(
    'byte for byte in the form it came in (stream: %s), with its age',
    async (stream) => {
      const first = await bench.ask({ stream })
      const again = await bench.ask({ stream })
      expect([state(first), state(again)]).toEqual(['miss', 'hit'])
      expect(first.headers['age']).toBeUndefined()
      expect(again.headers['age']).toBe('0')
      expect(again.text).toBe(first.text)
      expect(again.headers['content-type']).toBe(first.headers['content-type'])
      expect(calls()).toBe(1)
      expect(bench.seen.map(({ settlements }) => settlements)).toMatchObject([
        [{ usage: { completionTokens: stream ? 3 : 5 }, worked: true }],
        [{ usage: { promptTokens: 0, completionTokens: 0 }, worked: true, cache: 'hit' }],
      ])
    },
  )

  test.each(Object.entries(FORMS))('as a stream when it came whole, with %s', async (_name, forms) => {
    bench.upstream.play((call) => sendWhole(call, forms.whole))
    await bench.ask()
    const { text, ended, headers } = await bench.ask({
      stream: true,
      stream_options: { include_usage: true },
    })
    expect(ended).toBe('complete')
    expect(headers['content-type']).toMatch(/^text\/event-stream/)
    expect(assembled(text)).toEqual(assembled(forms.stream.join('')))
    const events = eventsOf(text)
    expect(events[0]).toMatchObject({
      ...HEAD,
      object: 'chat.completion.chunk',
      choices: [{ delta: { role: 'assistant' } }],
    })
    expect(events.at(-2)).toEqual({ ...HEAD, object: 'chat.completion.chunk', choices: [], usage: USAGE })
    expect(events.at(-1)).toBe('[DONE]')
    expect((await bench.ask({ stream: true })).text).not.toContain('"usage"')
    expect(calls()).toBe(1)
  })

  test.each(Object.entries(FORMS))('whole when it came as a stream, with %s', async (_name, forms) => {
    bench.upstream.play((call) => void sendStream(call, forms.stream))
    await bench.ask({ stream: true })
    const { text, headers } = await bench.ask()
    expect(headers['content-type']).toMatch(/^application\/json/)
    expect(JSON.parse(text)).toEqual(JSON.parse(forms.whole))
    expect(calls()).toBe(1)
  })

  test('whole from a stream of the older interface, its log probabilities joined', async () => {
    const ask = { model: 'far', prompt: 'x', temperature: 0, logprobs: 1 }
    const part = (text: string, at: number, finish_reason: string | null) => {
      const logprobs = {
        tokens: [text],
        token_logprobs: [-1],
        top_logprobs: [{ [text]: -1 }],
        text_offset: [at],
      }
      return `data: ${JSON.stringify({ ...HEAD, object: 'text_completion', choices: [{ index: 0, text, logprobs, finish_reason }] })}\n\n`
    }
    bench.upstream.play((call) => void sendStream(call, [part('a', 0, null), part('b', 1, 'stop'), DONE]))
    await bench.post('/v1/completions', { ...ask, stream: true })
    const { choices } = JSON.parse((await bench.post('/v1/completions', ask)).text)
    expect(choices).toMatchObject([
      { text: 'ab', finish_reason: 'stop', logprobs: { tokens: ['a', 'b'], text_offset: [0, 1] } },
    ])
    expect(calls()).toBe(1)
  })

  test('for embeddings, whatever else they ask', async () => {
    const answer = JSON.stringify({ object: 'list', data: [{ index: 0, embedding: [1, 2] }], usage: USAGE })
    bench.upstream.play((call) => sendWhole(call, answer))
    const ask = () => bench.post('/v1/embeddings', { model: 'far', input: 'x' })
    expect((await ask()).text).toBe(answer)
    const again = await ask()
    expect([state(again), again.text]).toEqual(['hit', answer])
  })

  test('in more than one piece to who reads slowly, when it is large', async () => {
    const large = [...Array.from({ length: 100 }, (_, at) => chatEvent(`${at}${'x'.repeat(4_000)}`)), DONE]
    bench.upstream.play((call) => void sendStream(call, large))
    const first = await bench.ask({ stream: true })
    const again = await bench.ask({ stream: true })
    expect(state(again)).toBe('hit')
    expect(again.text).toBe(first.text)
    expect(again.text.length).toBeGreaterThan(400_000)
  })

  test('in no form in which something of it would be lost', async () => {
    const odd = whole([
      { index: 0, message: { role: 'assistant', content: 'Hi', citations: ['x'] }, finish_reason: 'stop' },
    ])
    bench.upstream.play((call) => {
      if (JSON.parse(call.body).stream) void sendStream(call, wholeStream(2))
      else sendWhole(call, odd)
    })
    await bench.ask()
    expect(state(await bench.ask({ stream: true }))).toBe('miss')
    expect(calls()).toBe(2)
  })
})

describe('what is kept', () => {
  test('belongs to its tenant and project', async () => {
    numbered()
    const as = (tenant: string, project: string) => ({
      headers: { 'x-tenant': tenant, 'x-project': project },
    })
    const texts: string[] = []
    for (const who of [as('org_a', 'p'), as('org_b', 'p'), as('org_a', 'q'), as('org_b', 'q')]) {
      const answer = await bench.ask({}, who)
      expect(state(answer)).toBe('miss')
      texts.push(answer.text)
    }
    expect(new Set(texts).size).toBe(4)
    await restart({ share: 'organisation' })
    numbered()
    await bench.ask({}, as('org_a', 'p'))
    expect(state(await bench.ask({}, as('org_a', 'q')))).toBe('hit')
    expect(state(await bench.ask({}, as('org_b', 'q')))).toBe('miss')
  })

  test("is refused at every reading when it is another tenant's, whatever its key", async () => {
    numbered()
    await bench.ask()
    let planted = 0
    const { memory } = bench
    const get = memory.get.bind(memory)
    memory.get = (key: string): CachedAnswer | undefined => {
      const answer = get(key)
      if (answer) planted++
      return answer && { ...answer, tenant: 'org_other', body: Buffer.from('"secret"') }
    }
    const answer = await bench.ask()
    expect(planted).toBe(1)
    expect(state(answer)).toBe('miss')
    expect(answer.text).not.toContain('secret')
  })

  test('is only what a model would say again, unless it is asked for', async () => {
    numbered()
    for (const temperature of [undefined, 0.5]) {
      expect(state(await bench.ask({ temperature }))).toBe('bypass')
      expect(state(await bench.ask({ temperature }))).toBe('bypass')
      expect(state(await bench.ask({ temperature }, wish('use')))).toBe('miss')
      expect(state(await bench.ask({ temperature }, wish('use')))).toBe('hit')
    }
    expect(state(await bench.ask({}, wish('bypass')))).toBe('bypass')
    expect(state(await bench.ask())).toBe('miss')
  })

  test('is made anew on request, for all who come later', async () => {
    numbered()
    expect((await bench.ask()).text).toContain('answer 1')
    const refreshed = await bench.ask({}, wish('refresh'))
    expect([state(refreshed), refreshed.text.includes('answer 2')]).toEqual(['miss', true])
    const later = await bench.ask()
    expect([state(later), later.text.includes('answer 2')]).toEqual(['hit', true])
  })

  test.each([
    [{ 'x-helixflow-cache': 'yes' }, 'x-helixflow-cache'],
    [{ 'x-helixflow-cache-ttl': '5' }, 'x-helixflow-cache-ttl'],
    [{ 'x-helixflow-cache-tags': 'a,b c' }, 'x-helixflow-cache-tags'],
    [
      { 'x-helixflow-cache-tags': Array.from({ length: 17 }, (_, at) => `t${at}`).join(',') },
      'x-helixflow-cache-tags',
    ],
  ])('is not found by headers that are none: %j', async (headers, param) => {
    const { status, text } = await bench.ask({}, { headers: headers as Record<string, string> })
    expect(status).toBe(400)
    expect(JSON.parse(text).error).toMatchObject({ code: 'invalid_value', param })
  })

  test('is nothing incomplete: no refusal, no broken stream, no answer that is too large', async () => {
    bench.upstream.play(({ response }) => void response.writeHead(400).end('{"error":{"message":"No."}}'))
    await bench.ask()
    bench.upstream.play(async (call) => {
      await sendEvents(call, [chatEvent('a')])
      call.socket.destroy()
    })
    expect((await bench.ask({ stream: true })).ended).toBe('cut')
    expect(bench.memory.entries).toBe(0)
    await restart({ answerBytesMax: 100 })
    expect((await bench.ask()).status).toBe(200)
    expect((await bench.ask({ stream: true })).ended).toBe('complete')
    expect(bench.memory.entries).toBe(0)
  })

  test('never takes more memory than it may', async () => {
    await restart({ memoryBytes: 20_000 })
    for (let at = 0; at < 100; at++) {
      await bench.ask({ messages: [{ role: 'user', content: `number ${at}` }] })
      expect(bench.memory.bytes).toBeLessThanOrEqual(20_000)
    }
    expect(bench.memory.entries).toBeGreaterThan(5)
  })

  test('is of no use once the file of the model is another', async () => {
    numbered()
    await bench.ask()
    bench.replaceModel('r2')
    expect((await bench.ask()).text).toContain('answer 2')
    bench.replaceModel('r1')
    expect((await bench.ask()).text).toContain('answer 1')
  })
})

test('an answer that another file made than its key says is given and not kept', async () => {
  numbered()
  bench.replaceModelUnnoticed('r2')
  expect((await bench.ask()).status).toBe(200)
  expect(bench.memory.entries).toBe(0)
  bench.replaceModel('r2')
  await bench.ask()
  expect(bench.memory.entries).toBe(1)
})

describe('time', () => {
  test('makes an answer old: exactly at its time to live', async () => {
    const clock = new ManualClock(1_000)
    await restart({ clock, policy: { ttlMs: 60_000 } })
    numbered()
    await bench.ask()
    clock.advance(59_999)
    const last = await bench.ask()
    expect([state(last), last.headers['age']]).toEqual(['hit', '59'])
    clock.advance(1)
    expect(state(await bench.ask())).toBe('miss')
  })

  test('is shorter for a request that says so, for its answer and for what it takes', async () => {
    const clock = new ManualClock(1_000)
    await restart({ clock, policy: { ttlMs: 60_000 } })
    numbered()
    const brief = { headers: { 'x-helixflow-cache-ttl': '1s' } }
    await bench.ask()
    clock.advance(1_000)
    expect(state(await bench.ask({}, brief))).toBe('miss')
    expect(state(await bench.ask())).toBe('hit')
    clock.advance(1_000)
    expect(state(await bench.ask())).toBe('miss')
  })

  test('after it, one new answer is made behind the old one, and paid for', async () => {
    const clock = new ManualClock(1_000)
    await restart({ clock, policy: { ttlMs: 60_000, staleMs: 60_000 } })
    numbered()
    await bench.ask()
    clock.advance(60_000)
    bench.upstream.play((call) => setTimeout(() => sendWhole(call, chatAnswer('new')), 100))
    const stale = await Promise.all(Array.from({ length: 20 }, () => bench.ask()))
    for (const one of stale) expect([state(one), one.text.includes('answer 1')]).toEqual(['stale', true])
    expect(stale[0]?.headers['age']).toBe('60')
    while (bench.behind.length === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(calls()).toBe(1)
    expect(bench.behind).toMatchObject([{ usage: { completionTokens: 5 }, worked: true, error: undefined }])
    const next = await bench.ask()
    expect([state(next), next.text.includes('new')]).toEqual(['hit', true])
    clock.advance(120_000)
    expect(state(await bench.ask())).toBe('miss')
  })

  test('of a shutdown is not waited for by an answer that is made behind another', async () => {
    const clock = new ManualClock(1_000)
    await restart({ clock, policy: { ttlMs: 1_000, staleMs: 60_000 } })
    numbered()
    await bench.ask()
    clock.advance(1_000)
    bench.upstream.play(() => {})
    expect(state(await bench.ask())).toBe('stale')
    await bench.upstream.call(1)
    const startedMs = performance.now()
    await bench.caching.stop()
    expect(performance.now() - startedMs).toBeLessThan(1_000)
    expect(bench.behind).toMatchObject([{ error: { code: 'server_draining' } }])
  })
})

describe('an invalidation', () => {
  test('by tag, model or all makes old what has that name, of that tenant', async () => {
    numbered()
    const tagged = (tag: string) => ({ headers: { 'x-helixflow-cache-tags': `${tag}, other` } })
    const ask = (content: string, options = {}) =>
      bench.ask({ messages: [{ role: 'user', content }] }, options)
    for (const [name, again] of [
      ['tag:x', { x: 'miss', y: 'hit', none: 'hit' }],
      ['tag:other', { x: 'miss', y: 'miss', none: 'hit' }],
      ['model:far', { x: 'miss', y: 'miss', none: 'miss' }],
      ['all', { x: 'miss', y: 'miss', none: 'miss' }],
      ['model:near', { x: 'hit', y: 'hit', none: 'hit' }],
    ] as const) {
      await ask('x', tagged('x'))
      await ask('y', tagged('y'))
      await ask('none')
      await bench.cache.invalidate('org_b', [name])
      expect(state(await ask('x', tagged('x')))).toBe('hit')
      await bench.cache.invalidate('org_a', [name])
      expect(state(await ask('x', tagged('x'))), name).toBe(again.x)
      expect(state(await ask('y', tagged('y'))), name).toBe(again.y)
      expect(state(await ask('none')), name).toBe(again.none)
    }
  })

  test('makes old what was on its way: it is neither kept nor joined by who asks afterwards', async () => {
    bench.upstream.play(() => {})
    const before = bench.ask()
    const first = await bench.upstream.call(1)
    await bench.cache.invalidate('org_a', ['model:far'])
    const after = bench.ask()
    const second = await bench.upstream.call(2)
    sendWhole(second, chatAnswer('new'))
    expect((await after).text).toContain('new')
    sendWhole(first, chatAnswer('old'))
    expect((await before).text).toContain('old')
    expect((await bench.ask()).text).toContain('new')
  })
})
