import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { systemClock } from '../../src/system.ts'
import { ApartPlatform } from '../support/apart-platform.ts'
import { helixflow } from '../support/helixflow.ts'
import { keyElsewhere } from '../support/http-administration.ts'
import { findPgvector } from '../support/pgvector.ts'
import { PostgresServer } from '../support/postgres-server.ts'
import { post } from '../support/raw-client.ts'
import { chatAnswer, ScriptedUpstream, sendWhole } from '../support/scripted-upstream.ts'
import type { Server } from '../support/server.ts'

const pgvector = await findPgvector()
if ('programs' in pgvector)
  describe('gateways on a database with pgvector', () =>
    describeGateways(() => PostgresServer.start(pgvector.programs)))
else describe.skip(`gateways on a database with pgvector (${pgvector.missing})`, () => test('run', () => {}))

/** Questions of one number are alike, and of no other. */
function meaningOf(question: string): readonly number[] {
  const number = Number(/\d+/.exec(question)?.[0] ?? 0)
  return Array.from({ length: 32 }, (_, at) => (at === number ? 1 : 0.001 * question.length * (at % 2)))
}

function describeGateways(start: () => Promise<PostgresServer>): void {
  let postgres: PostgresServer
  let upstream: ScriptedUpstream
  let platform: ApartPlatform
  let chats = 0
  beforeAll(async () => {
    postgres = await start()
    await postgres.administer('create extension vector')
    upstream = await ScriptedUpstream.start((call) => {
      const { input } = JSON.parse(call.body)
      if (call.path !== '/v1/embeddings') return sendWhole(call, chatAnswer(`answer ${++chats}`))
      const data = [{ index: 0, embedding: meaningOf(input) }]
      const usage = { prompt_tokens: 4, total_tokens: 4 }
      return sendWhole(call, JSON.stringify({ object: 'list', data, usage }))
    })
    const far = { name: 'far', url: upstream.url, models: ['far', 'embedder'], slots: 64 }
    const rule = { model: 'far', mode: 'always', semantic: { model: 'embedder', threshold: 0.9 } }
    platform = await ApartPlatform.start(
      2,
      { model: null, models: {}, config: { upstreams: [far], cache: { rules: [rule] } } },
      { database: { driver: 'postgres', url: postgres.url } },
    )
  })
  afterAll(async () => {
    await platform?.stop()
    await upstream?.stop()
    await postgres?.stop()
  })

  const gateway = (number: number): Server => platform.gateways[number] ?? expect.unreachable()
  const ask = async (server: Server, content: string, key = platform.apiKey) => {
    const messages = [{ role: 'user', content }]
    const { status, headers, text } = await post(`${server.url}/chat/completions`, {
      headers: { authorization: `Bearer ${key}` },
      body: JSON.stringify({ model: 'far', messages, temperature: 0.7 }),
    })
    expect(status, text).toBe(200)
    return { state: headers['x-helixflow-cache'], text, similarity: headers['x-helixflow-cache-similarity'] }
  }

  async function keptVectors(): Promise<number> {
    const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
    const database = openDatabase(postgres.superuserUrl, limits)
    try {
      return (await database.query('select from semantic_vectors')).length
    } finally {
      await database.close()
    }
  }

  /**
   * Asks one gateway, then the other in other words. On a machine that is held up so long that the index has missed its
   * deadline that is a miss, rightly, and it is tried with another question.
   */
  async function askedAtBoth(numbers: readonly number[], other: Server): Promise<number> {
    for (const number of numbers) {
      const before = await keptVectors()
      const first = await ask(gateway(0), `How do I open door ${number}?`)
      expect(first.state).toBe('miss')
      await expect.poll(keptVectors).toBe(before + 1)
      const again = await ask(other, `By what means does one open door ${number}?`)
      if (again.state === 'miss') continue
      expect(again).toMatchObject({ state: 'semantic', text: first.text })
      expect(again.similarity).toMatch(/^0\.9\d+$/)
      return number
    }
    return expect.unreachable('no question was found alike')
  }

  test('a question that one has answered is answered by the other in other words, and one started later', async () => {
    await askedAtBoth([1, 2, 3], gateway(1))
    await askedAtBoth([4, 5, 6], await platform.add())
  })

  test('another organisation never gets it, in no words', async () => {
    const number = await askedAtBoth([7, 8, 9], gateway(1))
    const theirs = await keyElsewhere(gateway(0))
    const mine = await ask(gateway(0), `How do I open door ${number}?`)
    expect(mine.state).toBe('hit')
    const first = await ask(gateway(1), `By what means does one open door ${number}?`, theirs)
    expect(first.state).toBe('miss')
    for (const words of ['How do I open', 'How does one open', 'By what means does one open']) {
      for (const server of platform.gateways) {
        // Of their own questions one may be like another.
        const { text } = await ask(server, `${words} door ${number}?`, theirs)
        expect(text).not.toBe(mine.text)
      }
    }
  })

  test('where vectors are kept is in the log and told by the command line', async () => {
    await gateway(0).logged(/pgvector 0\.\d[^\n]*index of the semantic cache chosen/)
    const { out } = await helixflow(gateway(1), 'cache', 'stats')
    expect(out).toMatch(/\d+ answers.*\nvectors of questions: pgvector 0\.\d+\.\d+, shared by all gateways/)
  })
}
