import { afterEach, beforeEach, expect, test } from 'vitest'
import type { CacheRule } from '../../../src/cache/cache-rules.ts'
import { CachingBench } from '../../support/caching-bench.ts'
import type { RawAnswer } from '../../support/raw-client.ts'
import { chatAnswer, sendWhole, type UpstreamCall } from '../../support/scripted-upstream.ts'

const RULE: CacheRule = { model: 'far', mode: 'always', semantic: { model: 'embedder', threshold: 0.95 } }

/** What the questions of these tests mean. */
const MEANINGS: Readonly<Record<string, readonly number[]>> = {
  'How do I reset my password?': [1, 0, 0],
  'how can I reset my password': [0.99, 0.1, 0],
  'How do I delete my account?': [0.7, 0.7, 0],
  'What is the weather?': [0, 0, 1],
}
const [ASKED = '', AGAIN = '', RELATED = '', OTHER = ''] = Object.keys(MEANINGS)

let bench: CachingBench
beforeEach(async () => {
  bench = await CachingBench.start({ policy: { rules: [RULE] } })
  bench.upstream.play(answer)
})
afterEach(() => bench.stop())

function answer(call: UpstreamCall): void {
  const body = JSON.parse(call.body)
  if (call.path !== '/v1/embeddings') {
    sendWhole(call, chatAnswer(`answer ${chats().length}`))
    return
  }
  const embedding = MEANINGS[body.input] ?? [0, 1, 0]
  const usage = { prompt_tokens: 4, total_tokens: 4 }
  sendWhole(call, JSON.stringify({ object: 'list', data: [{ index: 0, embedding }], usage }))
}

const chats = () => bench.upstream.calls.filter(({ path }) => path !== '/v1/embeddings')
const embeddings = () => bench.upstream.calls.filter(({ path }) => path === '/v1/embeddings')
const state = ({ headers }: RawAnswer) => headers['x-helixflow-cache']
const as = (tenant: string, project = 'p') => ({ headers: { 'x-tenant': tenant, 'x-project': project } })

function ask(question: string, change: object = {}, options = {}): Promise<RawAnswer> {
  return bench.ask({ messages: [{ role: 'user', content: question }], temperature: 0.7, ...change }, options)
}

test('the same question in other words gets the answer, and is told how like it is', async () => {
  const first = await ask(ASKED)
  expect(state(first)).toBe('miss')
  const again = await ask(AGAIN)
  expect(state(again)).toBe('semantic')
  expect(again.text).toBe(first.text)
  expect(again.headers['x-helixflow-cache-similarity']).toMatch(/^0\.99\d\d$/)
  expect(again.headers['age']).toBe('0')
  expect(state(await ask(RELATED))).toBe('miss')
  expect(state(await ask(OTHER))).toBe('miss')
  expect(chats()).toHaveLength(3)
  expect(bench.seen[1]?.settlements).toMatchObject([{ cache: 'hit', usage: { completionTokens: 0 } }])
})

test('the same words need no embedding, and each embedding is paid for', async () => {
  await ask(ASKED)
  expect(state(await ask(ASKED))).toBe('hit')
  expect(embeddings()).toHaveLength(1)
  expect(bench.behind).toMatchObject([{ worked: true, usage: { promptTokens: 4 }, error: undefined }])
})

test('an identical question of another tenant or project never hits', async () => {
  await ask(ASKED, {}, as('org_a'))
  for (let round = 0; round < 5; round++) {
    for (const who of [as('org_b'), as('org_a', 'q'), as(`org_${round}`)]) {
      const { text } = await ask(round % 2 ? ASKED : AGAIN, { seed: round }, who)
      expect(text).not.toContain('answer 1"')
    }
  }
  expect(state(await ask(AGAIN, {}, as('org_a')))).toBe('semantic')
})

test.each<[string, object]>([
  ['a parameter', { max_tokens: 7 }],
  [
    'the system prompt',
    {
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: AGAIN },
      ],
    },
  ],
  [
    'what was said before',
    {
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Hello' },
        { role: 'user', content: AGAIN },
      ],
    },
  ],
])('a question that differs in %s is another one, whatever its words', async (_name, change) => {
  await ask(ASKED)
  expect(state(await ask(AGAIN, change))).toBe('miss')
  expect(state(await ask(AGAIN))).toBe('semantic')
})

test('another file behind the name of the model makes all of it another question', async () => {
  await ask(ASKED)
  bench.replaceModel('r2')
  expect(state(await ask(AGAIN))).toBe('miss')
})

test('what was invalidated is found by no likeness', async () => {
  await ask(ASKED)
  await bench.cache.invalidate('org_a', ['model:far'])
  expect(state(await ask(AGAIN))).toBe('miss')
})

test.each<[string, (call: UpstreamCall) => void]>([
  ['refuses', ({ response }) => void response.writeHead(500).end('{}')],
  ['answers nonsense', (call) => sendWhole(call, '{"data":[{"embedding":"x"}]}')],
  ['answers no JSON', (call) => sendWhole(call, 'hello')],
])('an embedder that %s is a miss, and the answer is kept for the same words', async (_name, embedding) => {
  bench.upstream.play((call) => (call.path === '/v1/embeddings' ? embedding(call) : answer(call)))
  expect(state(await ask(ASKED))).toBe('miss')
  expect(state(await ask(AGAIN))).toBe('miss')
  expect(state(await ask(ASKED))).toBe('hit')
})

test('fifty questions that are the same at once are one embedding and one call', async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, () => ask(ASKED)))
  expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
  expect(embeddings()).toHaveLength(1)
  expect(chats()).toHaveLength(1)
})
