import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { helixflow } from '../support/helixflow.ts'
import { type Server, startServer } from '../support/server.ts'

let server: Server

beforeAll(async () => {
  server = await startServer()
})

afterAll(() => server.stop())

const content = 'Tell me about the life of bees and their hives in the great garden of the north. '.repeat(3)

/** The response cache is off here: what is reused is what the engine has computed. */
async function cached(client: OpenAI): Promise<number> {
  const answer = await client.chat.completions.create({
    model: 'tiny',
    messages: [{ role: 'user', content }],
    max_tokens: 4,
    temperature: 1,
  })
  return answer.usage?.prompt_tokens_details?.cached_tokens ?? -1
}

test('a project finds its own prompts computed, and nobody else’s', async () => {
  const run = async (...args: string[]) => JSON.parse((await helixflow(server, ...args, '--json')).out)
  const clientOf = (apiKey: string) => new OpenAI({ baseURL: server.url, apiKey, maxRetries: 0 })
  const organisation = await run('orgs', 'create', 'Other')
  const theirs = await run('projects', 'create', 'theirs', '--organisation', organisation.id)
  const beside = await run('projects', 'create', 'beside')
  const first = clientOf(server.apiKey)
  expect(await cached(first)).toBe(0)
  expect(await cached(first)).toBeGreaterThan(100)
  for (const key of [
    await run('keys', 'create', 'k', '--project-id', theirs.id, '--organisation', organisation.id),
    await run('keys', 'create', 'k', '--project-id', beside.id),
  ]) {
    const stranger = clientOf(key.plaintext)
    expect(await cached(stranger)).toBe(0)
    expect(await cached(stranger)).toBeGreaterThan(100)
  }
})
