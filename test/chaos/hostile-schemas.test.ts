import { afterAll, beforeAll, expect, test } from 'vitest'
import { problemOf } from '../support/bad-input.ts'
import { engineProcess, exists } from '../support/engine-process.ts'
import { HOSTILE_SCHEMAS } from '../support/hostile-schemas.ts'
import { post } from '../support/raw-client.ts'
import { type Server, startServer } from '../support/server.ts'

/** The engine makes grammars in the loop that generates for everybody: nobody may hold that for long. */
const ANSWER_MAX_MS = 2_000
/** An engine that was lost comes back after a pause that grows; the rest of the table would take too long. */
const LOST_MAX = 3

let server: Server
let engine: number

beforeAll(async () => {
  // What kills an engine here must not take the model away from the rest of the table.
  const engines = { crashesMax: 100 }
  server = await startServer({ config: { models: { contextLength: 256 }, engines } })
  engine = await engineProcess(server, 'tiny')
})
afterAll(async () => {
  if (server) expect(await server.stop()).toBe(0)
})

const named = { name: 's', description: 'x' }
const uses = {
  'the form of the answer': (schema: object) => ({
    response_format: { type: 'json_schema', json_schema: { name: 's', schema } },
  }),
  'a tool that may be called': (parameters: object) => ({
    tools: [{ type: 'function', function: { ...named, parameters } }],
  }),
  'a tool that must be called': (parameters: object) => ({
    tools: [{ type: 'function', function: { ...named, parameters } }],
    tool_choice: 'required',
  }),
} as const

test.each(Object.entries(uses))(
  'no schema for %s breaks the engine or holds it up',
  async (_name, use) => {
    const problems: string[] = []
    let lost = 0
    for (const schema of HOSTILE_SCHEMAS) {
      const problem = await tryOut(use(schema))
      if (problem) problems.push(`${problem}\n  ${JSON.stringify(schema).slice(0, 200)}`)
      if (exists(engine)) continue
      // A request that ends an engine is tried on one more, so there may be two to wait for.
      while (!exists(engine)) engine = await engineProcess(server, 'tiny', engine)
      if (++lost === LOST_MAX) break
    }
    expect(problems.join('\n')).toBe('')
  },
  300_000,
)

/** What is wrong with the answer to such a request; an engine that is held up by it is ended. */
async function tryOut(change: object): Promise<string | undefined> {
  const messages = [{ role: 'user', content: 'Hello' }]
  const body = JSON.stringify({ model: 'tiny', messages, max_tokens: 8, temperature: 0, ...change })
  const headers = { authorization: `Bearer ${server.apiKey}` }
  const startedMs = performance.now()
  try {
    const answer = await post(`${server.url}/chat/completions`, {
      headers,
      body,
      timeoutMs: 2 * ANSWER_MAX_MS,
    })
    const tookMs = performance.now() - startedMs
    if (!exists(engine)) return 'the engine died'
    if (tookMs > ANSWER_MAX_MS) return `took ${Math.round(tookMs)} ms`
    return problemOf(answer, { body: Buffer.from(body) })
  } catch (cause) {
    if (exists(engine)) process.kill(engine, 'SIGKILL')
    while (exists(engine)) await new Promise((resolve) => setTimeout(resolve, 20))
    return `no answer within ${2 * ANSWER_MAX_MS} ms: ${String(cause)}`
  }
}
