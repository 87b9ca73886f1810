import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { processesWith } from './processes.ts'
import { type Server, startServer } from './server.ts'
import { usageIn } from './usage-rows.ts'

const CALLERS = 6

interface Seen {
  readonly requestId: string
  readonly promptTokens: number
  readonly completionTokens: number
}

/** Asks, half of the time for a stream, and says what came if all of it came. */
async function askOne(url: string, apiKey: string, stream: boolean): Promise<Seen | undefined> {
  const answer = await fetch(`${url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'tiny',
      messages: [{ role: 'user', content: 'Hello' }],
      max_tokens: 8,
      stream,
      ...(stream ? { stream_options: { include_usage: true } } : {}),
      user: 'a caller',
    }),
  })
  const text = await answer.text()
  if (answer.status !== 200 || (stream && !text.endsWith('data: [DONE]\n\n'))) return undefined
  const [, usage = ''] = /"usage":(\{[^}]*)/.exec(text) ?? []
  const count = (name: string) => Number(new RegExp(`"${name}":\\s*(\\d+)`).exec(usage)?.[1])
  return {
    requestId: answer.headers.get('x-request-id') ?? '',
    promptTokens: count('prompt_tokens'),
    completionTokens: count('completion_tokens'),
  }
}

/** Callers that go on until the server is killed. */
async function askUntilKilled(server: Server, apiKey: string, seen: Seen[]): Promise<void> {
  const caller = async (index: number) => {
    for (let turn = index; ; turn++) {
      try {
        const one = await askOne(server.url, apiKey, turn % 2 === 0)
        if (one) seen.push(one)
      } catch {
        return
      }
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, (_, index) => caller(index)))
}

/**
 * Kills a server again and again in the middle of requests, then compares what callers saw with what it has on record:
 * each answer that came whole once, and sums that agree.
 */
export async function killAndCompare(kills: number, seed: number): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-test-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  const random = seededRandom(seed)
  const seen: Seen[] = []
  let apiKey = ''
  for (let kill = 0; kill < kills; kill++) {
    const server = await startServer({ home })
    apiKey ||= server.apiKey
    const asking = askUntilKilled(server, apiKey, seen)
    // Delivery gathers for half a second: some kills come before it, some in it, some after it.
    await new Promise((resolve) => setTimeout(resolve, 150 + 1_500 * random.uniform()))
    server.process.kill('SIGKILL')
    await asking
    await server.stop()
    await expect.poll(() => processesWith(home), { timeout: 10_000 }).toEqual([])
  }
  const last = await startServer({ home })
  expect(await last.stop()).toBe(0)
  expect(readdirSync(join(home, 'spool')), 'nothing is left behind').toEqual([])

  const { rows, sums } = await usageIn(home)
  expect(seen.length).toBeGreaterThan(kills * CALLERS)
  const byId = new Map(rows.map((row) => [row.request_id, row]))
  expect(byId.size, 'no duplicates').toBe(rows.length)
  for (const { requestId, promptTokens, completionTokens } of seen) {
    expect(byId.get(requestId), requestId).toMatchObject({
      prompt_tokens: String(promptTokens),
      completion_tokens: String(completionTokens),
      estimated: false,
    })
  }
  expect(Number(sums.requests), 'sums agree with the rows').toBe(rows.length)
  const completion = rows.reduce((sum, row) => sum + Number(row.completion_tokens), 0)
  expect(Number(sums.completion)).toBe(completion)
}
