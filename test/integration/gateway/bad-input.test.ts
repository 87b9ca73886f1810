import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { expectUnharmed, sendBadInput } from '../../support/bad-input.ts'
import { INSPECTABLE, Inspector } from '../../support/inspector.ts'
import { eventsOf, post } from '../../support/raw-client.ts'
import { type Server, startServer } from '../../support/server.ts'

let server: Server
let inspector: Inspector

beforeAll(async () => {
  // A small context bounds what a request costs that lost its max_tokens.
  server = await startServer({ config: { models: { contextLength: 256 } }, environment: INSPECTABLE })
  inspector = await Inspector.attach(server)
})
afterAll(async () => {
  inspector?.close()
  if (server) expect(await server.stop()).toBe(0)
})

test('500 mutated bodies to each route: each is answered in the form of the contract, and no harm stays', async () => {
  // Everything that is made once, such as connections and compiled code, is there before memory is looked at.
  await sendBadInput(server, { seed: 1, perRoute: 200 })
  await expectUnharmed(server, inspector, () => sendBadInput(server, { seed: 2, perRoute: 500 }))
}, 300_000)

interface PromptCase {
  readonly prompt: unknown
  readonly n?: number
  /** How many choices the answer has. */
  readonly choices?: number
  /** The parameter that a refusal names. */
  readonly refused?: string
}

interface TextAnswer {
  readonly choices: readonly { readonly index: number; readonly finish_reason: string | null }[]
}

/** An empty text is a prompt of no tokens here, since the tiny model puts nothing before a text. */
const PROMPTS: readonly PromptCase[] = [
  { prompt: '', choices: 1 },
  { prompt: '', n: 1, choices: 1 },
  { prompt: '', n: 2, refused: 'prompt' },
  { prompt: [''], n: 4, refused: 'prompt[0]' },
  { prompt: ['a', ''], choices: 2 },
  { prompt: ['', ''], choices: 2 },
  { prompt: ['a', ''], n: 2, refused: 'prompt[1]' },
  { prompt: ['', 'a'], n: 2, refused: 'prompt[0]' },
  { prompt: ['a', 'b'], n: 2, choices: 4 },
  { prompt: ['a', 'b'], n: 5, refused: 'n' },
  { prompt: [' ', '\n'], n: 2, choices: 4 },
  { prompt: '\u0000', n: 2, choices: 2 },
  { prompt: [5], n: 2, choices: 2 },
  { prompt: [[5], [6, 7]], n: 2, choices: 4 },
  { prompt: [], refused: 'prompt' },
  { prompt: [], n: 2, refused: 'prompt' },
  { prompt: [[]], n: 2, refused: 'prompt[0]' },
  { prompt: [[5], []], refused: 'prompt[1]' },
  { prompt: [[5], 'a'], refused: 'prompt[0]' },
  { prompt: ['a', []], refused: 'prompt[1]' },
  { prompt: ['a', null], refused: 'prompt[1]' },
  { prompt: null, refused: 'prompt' },
]

describe.each([false, true])('a list of prompts, with stream %s', (stream) => {
  const ask = (change: object) =>
    post(`${server.url}/completions`, {
      headers: { authorization: `Bearer ${server.apiKey}` },
      body: JSON.stringify({ model: 'tiny', max_tokens: 2, stream, ...change }),
      timeoutMs: 15_000,
    })

  test.each(PROMPTS)('$prompt with n $n has $choices choices, or $refused is refused', async (one) => {
    const { prompt, n, choices, refused } = one
    const { status, text, ended } = await ask({ prompt, n })
    expect(ended).toBe('complete')
    if (refused !== undefined) {
      expect([status, JSON.parse(text).error.param], text).toEqual([400, refused])
      return
    }
    expect(status, text).toBe(200)
    const answers = stream ? eventsOf(text).filter((event) => event !== '[DONE]') : [JSON.parse(text)]
    const finished = answers
      .flatMap((answer) => (answer as TextAnswer).choices)
      .filter(({ finish_reason }) => finish_reason !== null)
    expect(finished.map(({ index }) => index).sort()).toEqual(
      Array.from({ length: choices ?? 0 }, (_, i) => i),
    )
    if (stream) expect(eventsOf(text).at(-1)).toBe('[DONE]')
  })

  test.each([
    [{ prompt: ['a'.repeat(3_000), 'b'] }],
    [{ prompt: ['b', 'a'.repeat(3_000)], n: 2 }],
    [{ prompt: ['b', 'c', 'a'.repeat(3_000)], logprobs: 1 }],
  ])('one of them that is longer than the context is told as such (case %#)', async (change) => {
    const { status, text } = await ask(change)
    // What the others have begun to stream ends with the error; before that it is the whole answer.
    expect([400, ...(stream ? [200] : [])]).toContain(status)
    expect(text).toContain('"code":"context_length_exceeded"')
    expect(text).not.toContain('[DONE]')
  })

  test.each([
    [{ prompt: '', best_of: 2 }, 'best_of'],
    [{ prompt: ['a', ''], n: 2, best_of: 2 }, 'best_of'],
    [{ prompt: '', echo: true }, 'echo'],
    [{ prompt: ['a', ''], n: 2, echo: true }, 'echo'],
    [{ prompt: '', max_tokens: 0 }, 'max_tokens'],
    [{ prompt: '', logprobs: 1, n: 2 }, 'prompt'],
  ])('%j is refused by the name of %s', async (change, param) => {
    const { status, text } = await ask(change)
    expect([status, JSON.parse(text).error.param], text).toEqual([400, param])
  })
})

test('a text of millions of letters is not cut into tokens', async () => {
  const headers = { authorization: `Bearer ${server.apiKey}` }
  const cut = (length: number) =>
    post(`${server.origin}/tokenize`, {
      headers,
      body: JSON.stringify({ model: 'tiny', prompt: 'x'.repeat(length) }),
    })
  expect((await cut(200_000)).status).toBe(200)
  const { status, text } = await cut(2 ** 20 + 1)
  expect([status, JSON.parse(text).error.param]).toEqual([400, 'prompt'])
})
