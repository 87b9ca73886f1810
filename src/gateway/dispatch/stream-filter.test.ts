import { describe, expect, test } from 'vitest'
import { frame } from '../../contracts/sse.ts'
import { seededRandom } from '../../core/random.ts'
import type { Exchange } from './exchange.ts'
import { StreamFilter } from './stream-filter.ts'

function exchange(change: Partial<Exchange> = {}): Exchange {
  return {
    model: 'm',
    path: '/v1/chat/completions',
    body: () => ({}),
    size: () => ({ promptTokensMax: 0, promptTokensLikely: 0, promptCount: 1, outputTokensMax: 0 }),
    tier: 'default',
    prompt: undefined,
    inputParam: 'messages',
    schemaParam: undefined,
    stream: true,
    includeUsage: false,
    choices: 1,
    choicesPerPrompt: 1,
    collect: undefined,
    rewrite: undefined,
    cacheable: undefined,
    ...change,
  }
}

const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm' }
const token = (content: string, index = 0) =>
  frame({ choices: [{ index, delta: { content }, finish_reason: null }], ...head })
const usage = (prompt: number, completion: number) =>
  frame({ choices: [], ...head, usage: { prompt_tokens: prompt, completion_tokens: completion } })
const done = 'data: [DONE]\n\n'

function filtered(filter: StreamFilter, ...chunks: string[]): string {
  return chunks.map((chunk) => filter.push(Buffer.from(chunk)).toString()).join('')
}

describe('a stream', () => {
  test('passes its tokens as the bytes they came in, however they are cut', () => {
    const odd =
      'data: {"choices":[{"index":0,"delta":{"content":"\\u00e4 \\"usage\\":{ \\"error\\" ☃"} } ]  }\n\n'
    const whole = Buffer.from(`${token('a')}${odd}: ping\n\n${token('b')}${done}`)
    for (let seed = 1; seed <= 50; seed++) {
      const random = seededRandom(seed)
      const filter = new StreamFilter(exchange(), undefined)
      const out: Buffer[] = []
      for (let at = 0; at < whole.length; ) {
        const next = at + 1 + Math.floor(random.uniform() * 40)
        out.push(Buffer.from(filter.push(whole.subarray(at, next))))
        at = next
      }
      expect(Buffer.concat(out).equals(whole)).toBe(true)
      expect(filter.done).toBe(true)
    }
  })

  test('has its usage counted, but shown only to who asked', () => {
    const silent = new StreamFilter(exchange(), undefined)
    expect(filtered(silent, token('a'), usage(3, 1), done)).toBe(token('a') + done)
    expect(silent.usage()).toEqual({ promptTokens: 3, completionTokens: 1, cachedTokens: 0 })

    const asked = new StreamFilter(exchange({ includeUsage: true }), undefined)
    const out = filtered(asked, token('a'), usage(3, 1), done)
    const shown = JSON.parse(out.split('\n\n')[1]?.slice(6) ?? '')
    expect(shown).toMatchObject({ ...head, choices: [], usage: { prompt_tokens: 3, total_tokens: 4 } })
    expect(out.endsWith(done)).toBe(true)
  })

  test('of several choices counts the prompt once and every choice', () => {
    const filter = new StreamFilter(
      exchange({ includeUsage: true, choices: 2, choicesPerPrompt: 2 }),
      undefined,
    )
    const out = filtered(filter, token('a'), usage(31, 2), token('b', 1), usage(31, 5), done)
    expect(filter.usage()).toEqual({ promptTokens: 31, completionTokens: 7, cachedTokens: 0 })
    expect(out.match(/usage/g)).toHaveLength(1)
  })

  test('loses the usage that rides on a chunk with text, not the text', () => {
    const filter = new StreamFilter(exchange(), undefined)
    const last = { ...head, choices: [{ index: 0, text: 'x', finish_reason: 'stop' }] }
    const out = filtered(
      filter,
      frame({ ...last, usage: { prompt_tokens: 1, completion_tokens: 2 }, timings: {} }),
      done,
    )
    expect(out).toBe(frame(last) + done)
    expect(filter.usage()).toEqual({ promptTokens: 1, completionTokens: 2, cachedTokens: 0 })
  })

  test('drops the null that llama-server opens a completion with', () => {
    expect(filtered(new StreamFilter(exchange(), undefined), 'data: null\n\n', token('a'))).toBe(token('a'))
  })

  test('is not done, whatever else it says, before it says so', () => {
    const filter = new StreamFilter(exchange(), undefined)
    filtered(
      filter,
      token('a'),
      frame({ ...head, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
    )
    expect(filter.done).toBe(false)
  })

  test.each([
    ['an error of the engine', frame({ error: { message: 'boom', code: 500 } }), 'engine_failed'],
    ['an event that is no JSON', 'data: {"choices"\n\n', 'upstream_invalid_response'],
    ['an event that is no object', 'data: 17\n\n', 'upstream_invalid_response'],
  ])('fails at %s and sends nothing after it', (_name, event, code) => {
    const filter = new StreamFilter(exchange(), undefined)
    expect(filtered(filter, token('a'), event + token('b'))).toBe(token('a'))
    expect(filter.failure?.code).toBe(code)
  })
})
