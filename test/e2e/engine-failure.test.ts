import OpenAI, { APIError } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Server, startServer, tinyModel } from '../support/server.ts'

let server: Server
let client: OpenAI
const messages = [{ role: 'user' as const, content: 'Hello' }]

beforeAll(async () => {
  server = await startServer({
    models: { tiny: await tinyModel() },
    // Frozen engines are found within three seconds, and no number of crashes in this file quarantines the model.
    config: {
      engines: { probeInterval: '500ms', probeTimeout: '2s', crashesMax: 100 },
      models: { contextLength: 2_048 },
    },
  })
})
beforeEach(() => {
  client = new OpenAI({ baseURL: server.url, apiKey: server.apiKey, maxRetries: 0 })
})
afterAll(async () => {
  expect(await server.stop()).toBe(0)
})

/** The process that serves the model now, from the log. */
function enginePid(): number {
  const pids = [...server.log().matchAll(/"pid":(\d+),"alias":"tiny"/g)].map((match) => Number(match[1]))
  return pids.at(-1) ?? -1
}

/** Starts a long stream and ends its engine at the third token. */
async function streamUntil(
  signal: NodeJS.Signals,
): Promise<{ error: unknown; tokens: number; failedAfterMs: number }> {
  const stream = await client.chat.completions.create({
    model: 'tiny',
    messages,
    max_tokens: 1_900,
    stream: true,
  })
  let tokens = 0
  let endedMs = Number.NaN
  try {
    for await (const _ of stream) {
      if (++tokens !== 3) continue
      endedMs = performance.now()
      process.kill(enginePid(), signal)
    }
  } catch (error) {
    return { error, tokens, failedAfterMs: performance.now() - endedMs }
  }
  return expect.unreachable('the stream ended as if it were complete')
}

describe('an engine that is ended in the middle of a stream', () => {
  test.each(['SIGKILL', 'SIGSEGV', 'SIGABRT'] as const)(
    'by %s: an error event within a second, and the next request works',
    async (signal) => {
      const pid = enginePid()
      const { error, failedAfterMs } = await streamUntil(signal)
      expect(error).toBeInstanceOf(APIError)
      expect(error).toMatchObject({ code: 'engine_failed', type: 'server_error' })
      expect(failedAfterMs).toBeLessThan(1_000)
      const answer = await client.chat.completions.create({ model: 'tiny', messages, max_tokens: 3 })
      expect(answer.usage?.completion_tokens).toBe(3)
      expect(enginePid()).not.toBe(pid)
    },
  )

  test('by SIGSTOP: an error event at the deadline, and the next request works', async () => {
    const pid = enginePid()
    const { error, failedAfterMs } = await streamUntil('SIGSTOP')
    expect(error).toMatchObject({ code: 'engine_failed' })
    expect(failedAfterMs).toBeGreaterThan(1_500)
    expect(failedAfterMs).toBeLessThan(4_000)
    expect(
      (await client.chat.completions.create({ model: 'tiny', messages, max_tokens: 3 })).choices,
    ).toHaveLength(1)
    expect(() => process.kill(pid, 0), 'the frozen process is gone').toThrow()
  })

  test('before the first byte of a whole answer: it is generated again elsewhere, once', async () => {
    const pid = enginePid()
    const answer = client.chat.completions.create({ model: 'tiny', messages, max_tokens: 1_500 })
    await new Promise((resolve) => setTimeout(resolve, 50))
    process.kill(pid, 'SIGKILL')
    expect((await answer).usage?.completion_tokens).toBe(1_500)
    expect(enginePid()).not.toBe(pid)
  })
})

test('a raw reader of a failed stream sees the error and no clean end', async () => {
  const answer = await fetch(`${server.url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny', messages, max_tokens: 1_900, stream: true }),
  })
  let text = ''
  const read = async () => {
    for await (const chunk of answer.body ?? []) {
      if (text === '') process.kill(enginePid(), 'SIGKILL')
      text += Buffer.from(chunk as Uint8Array).toString()
    }
  }
  await expect(read()).rejects.toThrow()
  expect(text).toContain('"code":"engine_failed"')
  expect(text).not.toContain('[DONE]')
})
