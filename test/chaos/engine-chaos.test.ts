import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { processesWith } from '../support/processes.ts'
import { startServer, tinyModel } from '../support/server.ts'

const SECONDS = 120
const CLIENTS = 8

/** Failures that a caller may see while engines die; all others are defects. */
const EXPECTED = new Set(['engine_failed', 'model_loading', 'queue_timeout', 'insufficient_memory'])

test(`engines killed, crashed and frozen under load for ${SECONDS} s: every caller gets an answer or a telling error`, async () => {
  const server = await startServer({
    models: { one: await tinyModel(1), two: await tinyModel(2) },
    config: { engines: { probeInterval: '300ms', probeTimeout: '1s', crashesMax: 100 } },
  })
  const random = seededRandom(20_261_123)
  const endMs = performance.now() + SECONDS * 1000
  const outcomes = new Map<string, number>()
  const count = (name: string) => outcomes.set(name, (outcomes.get(name) ?? 0) + 1)

  const client = async () => {
    while (performance.now() < endMs) {
      const stream = random.uniform() < 0.5
      const answer = await fetch(`${server.url}/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          model: random.uniform() < 0.5 ? 'one' : 'two',
          messages: [{ role: 'user', content: 'Hello' }],
          max_tokens: 1 + Math.floor(random.uniform() * 400),
          stream,
        }),
      })
      let text = ''
      try {
        for await (const chunk of answer.body ?? []) text += Buffer.from(chunk as Uint8Array).toString()
      } catch {
        expect(text, 'a cut stream has told why').toContain('"error"')
      }
      const code = /"code":"([a-z_]+)"/.exec(text)?.[1]
      if (code) expect(text).not.toContain('[DONE]')
      else expect(stream ? text.endsWith('data: [DONE]\n\n') : 'choices' in JSON.parse(text)).toBe(true)
      count(code ?? 'answered')
    }
  }
  const killer = async () => {
    const signals = ['SIGKILL', 'SIGSEGV', 'SIGSTOP', 'SIGABRT', 'SIGTERM'] as const
    while (performance.now() < endMs - 5_000) {
      await new Promise((resolve) => setTimeout(resolve, 500 + random.uniform() * 1_500))
      const engines = processesWith(server.home).filter((pid) => pid !== server.pid)
      const pids = [...server.log().matchAll(/"pid":(\d+),"alias"/g)].map((match) => Number(match[1]))
      const victim = pids.filter((pid) => engines.includes(pid)).at(Math.floor(random.uniform() * 2) - 2)
      if (victim === undefined) continue
      process.kill(victim, signals[Math.floor(random.uniform() * signals.length)])
      count('attacks')
    }
  }
  await Promise.all([...Array.from({ length: CLIENTS }, client), killer()])
  const last = await fetch(`${server.origin}/readyz`)
  expect(last.status).toBe(200)
  expect(await server.stop()).toBe(0)
  expect(processesWith(server.home)).toEqual([])
  const unexpected = [...outcomes.keys()].filter(
    (name) => name !== 'answered' && name !== 'attacks' && !EXPECTED.has(name),
  )
  expect(unexpected, JSON.stringify([...outcomes])).toEqual([])
  expect(outcomes.get('answered') ?? 0).toBeGreaterThan(outcomes.get('attacks') ?? 0)
  console.log(Object.fromEntries(outcomes))
})
