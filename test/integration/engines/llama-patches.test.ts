import { beforeAll, describe, expect, test } from 'vitest'
import { askEngine } from '../../../src/engines/llama-request.ts'
import type { LlamaServer } from '../../../src/engines/llama-server.ts'
import { startTestServer, testEngine } from '../../support/engine.ts'
import { engineConformance } from '../../support/engine-conformance.ts'

beforeAll(testEngine)

engineConformance(testEngine)

describe('what was computed under one salt', () => {
  test('is reused under the same, and under no other', async () => {
    const server = await startTestServer({ slots: 2, contextLength: 512 })
    expect(await cached(server, 'a')).toBe(0)
    expect(await cached(server, 'a')).toBeGreaterThan(100)
    expect(await cached(server, 'b')).toBe(0)
    expect(await cached(server, undefined)).toBe(0)
    expect(await cached(server, undefined)).toBeGreaterThan(100)
  })

  // Salts that are more than there are slots push each other out into the memory of the host.
  test('comes back for its own from the memory of the host, and for no other', async () => {
    const server = await startTestServer({ slots: 2, contextLength: 512 })
    for (const salt of ['a', 'b', 'c', 'd']) expect(await cached(server, salt)).toBe(0)
    expect(await cached(server, 'e')).toBe(0)
    expect(await cached(server, 'a')).toBeGreaterThan(100)
    expect(await cached(server, 'b')).toBeGreaterThan(100)
  })

  // Else the later entry would take the earlier one's place, which its owner could tell.
  test('stays although another salt has sent more of the same text', async () => {
    const server = await startTestServer({ slots: 1, contextLength: 512 })
    await cached(server, 'a')
    await cached(server, 'b', `${TEXT} And there is more to it.`)
    await cached(server, 'c', 'Something else')
    expect(await cached(server, 'a')).toBeGreaterThan(100)
  })

  test('is kept apart for all choices of a request', async () => {
    const server = await startTestServer({ slots: 4, contextLength: 512 })
    await cached(server, 'a', TEXT, { n: 4 })
    for (let time = 0; time < 4; time++) expect(await cached(server, `b${time}`)).toBe(0)
  })

  test('is no salt but text', async () => {
    const server = await startTestServer()
    const body = { messages: [{ role: 'user', content: 'Hello' }], cache_salt: 5 }
    const answer = await askEngine(server.address, '/v1/chat/completions', { timeoutMs: 20_000, body })
    expect(answer.status).toBe(400)
  })
})

const TEXT = 'Tell me about the life of bees and their hives in the great garden of the north. '.repeat(3)

/** Tokens of the prompt that were not computed again. */
async function cached(
  server: LlamaServer,
  salt: string | undefined,
  text = TEXT,
  more = {},
): Promise<number> {
  const messages = [{ role: 'user', content: text }]
  const body = { messages, max_tokens: 4, ...(salt === undefined ? {} : { cache_salt: salt }), ...more }
  const answer = await askEngine(server.address, '/v1/chat/completions', { timeoutMs: 20_000, body })
  const { usage } = answer.body as {
    readonly usage: { readonly prompt_tokens_details: { readonly cached_tokens: number } }
  }
  return usage.prompt_tokens_details.cached_tokens
}
