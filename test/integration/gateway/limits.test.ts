import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { helixflow } from '../../support/helixflow.ts'
import { sendJson } from '../../support/http-administration.ts'
import type { RawAnswer } from '../../support/raw-client.ts'
import {
  chatAnswer,
  sendEvents,
  sendStream,
  sendWhole,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let bench: GatewayBench
let administrator: string

beforeAll(async () => {
  bench = await GatewayBench.start(
    {},
    {},
    {
      prices: { far: { input: 1_000, output: 2_000 } },
      cache: { staleFor: '1m' },
    },
  )
  const scopes =
    'keys.read,keys.write,limits.write,limits.read,service_accounts.write,projects.write,inference'
  administrator = String((await command('keys', 'create', 'administrator', '--scopes', scopes))['plaintext'])
})
afterAll(() => bench.stop())

const HOURLY = { measure: 'requests', window: '1h', algorithm: 'fixed-window' }

/** A key of its own for a test, with these rules on it. */
async function keyWith(...rules: readonly object[]): Promise<{ key: string; id: string }> {
  const { id = '', plaintext: key = '' } = await administer('/keys', { name: 'limited' })
  for (const rule of rules) await administer('/limits', { ...rule, keyId: id })
  return { key, id }
}

async function administer(path: string, body: object) {
  const answer = await sendJson(bench.server, administrator, {
    method: 'POST',
    path: `/admin/v1${path}`,
    body,
  })
  expect(answer.status, JSON.stringify(answer.body)).toBe(200)
  return answer.body
}

async function command(...parts: readonly string[]): Promise<Record<string, unknown>> {
  const { code, out, err } = await helixflow(bench.server, ...parts, '--json')
  expect(code, err).toBe(0)
  return JSON.parse(out)
}

function ask(key: string, change: object = {}): Promise<RawAnswer> {
  return bench.ask(change, { headers: { authorization: `Bearer ${key}` } })
}

/** Asks for a stream and leaves when that text has come, or as soon as the upstream was asked. */
async function leave(key: string, after: string | undefined): Promise<void> {
  const ask = { model: 'far', stream: true, max_tokens: 50, messages: [{ role: 'user', content: 'Hello' }] }
  const left = new AbortController()
  const asked = fetch(`${bench.server.url}/chat/completions`, {
    method: 'POST',
    signal: left.signal,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(ask),
  })
  if (after === undefined) {
    await bench.upstream.call(1)
  } else {
    const decoder = new TextDecoder()
    let text = ''
    for await (const bytes of (await asked).body ?? []) {
      text += decoder.decode(bytes)
      if (text.includes(after)) break
    }
  }
  left.abort()
  await asked.catch(() => {})
}

function errorOf({ text }: RawAnswer): Record<string, unknown> {
  return (JSON.parse(text) as { error: Record<string, unknown> }).error
}

describe('requests over a window', () => {
  test('429 beyond it, with headers that count down to the last one', async () => {
    const { key } = await keyWith({ measure: 'requests', limit: 3, window: '1h', algorithm: 'fixed-window' })
    for (const left of ['2', '1', '0']) {
      const { status, headers } = await ask(key)
      expect(status).toBe(200)
      expect(headers).toMatchObject({
        'x-ratelimit-limit-requests': '3',
        'x-ratelimit-remaining-requests': left,
        'x-ratelimit-reset-requests': expect.stringMatching(/^(\d+m)?[\d.]+s$/),
      })
    }
    const refused = await ask(key)
    expect(refused.status).toBe(429)
    expect(errorOf(refused)).toMatchObject({ type: 'requests', code: 'rate_limit_exceeded' })
    expect(refused.headers).toMatchObject({ 'x-ratelimit-remaining-requests': '0' })
  })

  test('a short wait is told and can be obeyed; a long one is no use to a client that resends', async () => {
    const short = await keyWith({ measure: 'requests', limit: 1, window: '2s' })
    await ask(short.key)
    const refused = await ask(short.key)
    expect(Number(refused.headers['retry-after-ms'])).toBeGreaterThan(0)
    expect(refused.headers['x-should-retry']).toBeUndefined()
    const long = await keyWith({ measure: 'requests', limit: 1, window: '1h' })
    await ask(long.key)
    const { headers } = await ask(long.key)
    expect(headers['x-should-retry']).toBe('false')
    expect(headers['retry-after']).toBeUndefined()
    expect(Number(headers['x-helixflow-reset'])).toBeGreaterThan(3_000)
  })

  test('the official client waits as it is told and succeeds', async () => {
    const { key } = await keyWith({ measure: 'requests', limit: 1, window: '1s' })
    const client = new OpenAI({ baseURL: bench.server.url, apiKey: key, maxRetries: 2 })
    const hello = { model: 'far', messages: [{ role: 'user' as const, content: 'Hello' }] }
    await client.chat.completions.create(hello)
    await client.chat.completions.create(hello)
  })

  test('a rule that changes holds within two seconds, without a restart', async () => {
    const { key, id } = await keyWith({
      measure: 'requests',
      limit: 1,
      window: '1h',
      algorithm: 'fixed-window',
    })
    await ask(key)
    expect((await ask(key)).status).toBe(429)
    await administer('/limits', { ...HOURLY, limit: 5, keyId: id })
    await vi.waitFor(async () => expect((await ask(key)).status).toBe(200), { timeout: 2_000, interval: 50 })
  })

  test('a default for every key is replaced by the rule of one', async () => {
    const { id: projectId } = await command('projects', 'create', 'limited')
    const hourly = ['--window', '1h', '--algorithm', 'fixed-window']
    await command(
      'limits',
      'set',
      'requests',
      '1',
      ...hourly,
      '--each',
      'key',
      '--project-id',
      String(projectId),
    )
    const [first, second] = await Promise.all(
      ['a', 'b'].map((name) => command('keys', 'create', name, '--project-id', String(projectId))),
    )
    await command('limits', 'set', 'requests', '2', ...hourly, '--key-id', String(first?.['id']))
    const granted = async (key: unknown) => {
      const answers = []
      for (let sent = 0; sent < 3; sent++) answers.push((await ask(String(key))).status)
      return answers.filter((status) => status === 200).length
    }
    expect(await granted(first?.['plaintext'])).toBe(2)
    expect(await granted(second?.['plaintext'])).toBe(1)
  })
})

describe('tokens', () => {
  test('what was reserved for an answer is given back when it took less', async () => {
    const { key } = await keyWith({ measure: 'tokens', limit: 2000, window: '1h', algorithm: 'fixed-window' })
    const remaining = async () =>
      Number((await ask(key, { max_tokens: 100 })).headers['x-ratelimit-remaining-tokens'])
    const first = await remaining()
    // The upstream's answer says 8 tokens.
    await vi.waitFor(async () => expect(first - (await remaining())).toBeLessThan(100), { timeout: 10_000 })
  })

  test('what is charged is what is on record, also of streams that break off and of clients that leave', async () => {
    const { key, id } = await keyWith({
      measure: 'tokens',
      limit: 100_000,
      window: '1h',
      algorithm: 'sliding-window',
    })
    let counted = 0
    for (let round = 0; round < 6; round++) {
      bench.upstream.play((call) => sendWhole(call, chatAnswer('hi')))
      await ask(key, { max_tokens: 50 })
      counted += 8
      bench.upstream.play((call) => void sendStream(call, wholeStream(round)))
      await ask(key, { max_tokens: 50, stream: true })
      counted += 3 + round
      bench.upstream.play(async (call) => {
        await sendEvents(call, wholeStream(4).slice(0, round))
        call.socket.destroy()
      })
      await ask(key, { max_tokens: 50, stream: true })
      bench.upstream.play((call) => void sendEvents(call, wholeStream(4).slice(0, round)))
      await leave(key, round > 0 ? `t${Math.min(round, 4) - 1}` : undefined)
    }
    bench.upstream.play((call) => sendWhole(call, chatAnswer('hi')))
    const charged = async () => {
      const { data } = await command('limits', 'explain', '--key-id', id, '--model', 'far')
      const [rule] = data as { remaining: number }[]
      return 100_000 - (rule?.remaining ?? 0)
    }
    const recorded = async () => {
      const { data } = await command('usage', 'requests', '--limit', '200')
      const rows = data as { keyId: string; promptTokens: number; completionTokens: number }[]
      return rows
        .filter(({ keyId }) => keyId === id)
        .reduce((sum, { promptTokens, completionTokens }) => sum + promptTokens + completionTokens, 0)
    }
    await vi.waitFor(async () => expect(await recorded()).toBe(await charged()), {
      timeout: 10_000,
      interval: 300,
    })
    // The prompt of those that broke off is charged too, although the engine never said how long it was.
    expect(await charged()).toBeGreaterThan(counted + 15 + 5 * 6)
  }, 30_000)

  test('a request that needs more than the whole limit is refused for good', async () => {
    const { key } = await keyWith({ measure: 'tokens', limit: 500, window: '1m' })
    const answer = await ask(key, { max_tokens: 1_000 })
    expect(answer.status).toBe(429)
    expect(errorOf(answer)).toMatchObject({ type: 'tokens', code: 'request_exceeds_limit' })
    expect(answer.headers['x-should-retry']).toBe('false')
  })

  test('an answer without a length of its own gets what its limit leaves, and the engine is told', async () => {
    const { key } = await keyWith({ measure: 'output_tokens', limit: 300, window: '1m' })
    bench.upstream.play((call) => sendWhole(call, chatAnswer('hi')))
    expect((await ask(key)).status).toBe(200)
    expect(JSON.parse((await bench.upstream.call(1)).body)).toMatchObject({ max_tokens: 300 })
    // 5 tokens of the 300 are gone: the next answer may have the others, as long as that is worth an answer.
    expect((await ask(key)).status).toBe(200)
    expect(JSON.parse((await bench.upstream.call(2)).body)).toMatchObject({ max_tokens: expect.any(Number) })
    const { max_tokens: left } = JSON.parse((await bench.upstream.call(2)).body) as { max_tokens: number }
    expect(left).toBeGreaterThanOrEqual(295)
    expect(left).toBeLessThanOrEqual(300)
  })
})

describe('requests at the same time', () => {
  test('429 while the places are taken, and a place again when one leaves', async () => {
    const { key } = await keyWith({ measure: 'concurrency', limit: 1 })
    let finish = () => {}
    bench.upstream.play((call) => {
      finish = () => sendWhole(call, chatAnswer('hi'))
    })
    const running = ask(key)
    await bench.upstream.call(1)
    const refused = await ask(key)
    expect(refused.status).toBe(429)
    expect(errorOf(refused)).toMatchObject({ code: 'concurrency_limit_exceeded' })
    finish()
    expect((await running).status).toBe(200)
    bench.upstream.play((call) => sendWhole(call, chatAnswer('hi')))
    expect((await ask(key)).status).toBe(200)
  })

  test('a request that is refused for its headers leaves its place', async () => {
    const { key } = await keyWith({ measure: 'concurrency', limit: 1 })
    const headers = { authorization: `Bearer ${key}`, 'x-helixflow-cache': 'nonsense' }
    expect((await bench.ask({}, { headers })).status).toBe(400)
    expect((await ask(key)).status).toBe(200)
  })

  test('a client that leaves leaves its place', async () => {
    const { key } = await keyWith({ measure: 'concurrency', limit: 1 })
    bench.upstream.play(() => {})
    const left = new AbortController()
    const gone = fetch(`${bench.server.url}/chat/completions`, {
      method: 'POST',
      signal: left.signal,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'Hello' }] }),
    }).catch(() => {})
    await bench.upstream.call(1)
    left.abort()
    await gone
    bench.upstream.play((call) => sendWhole(call, chatAnswer('hi')))
    await vi.waitFor(async () => expect((await ask(key)).status).toBe(200), { timeout: 10_000 })
  })
})

describe('an answer that was kept', () => {
  test('costs no tokens, and the new one that is made behind it is paid by who was given it', async () => {
    const limit = { measure: 'tokens', limit: 10_000, window: '1h', algorithm: 'fixed-window' }
    const { key } = await keyWith(limit)
    const headers = {
      authorization: `Bearer ${key}`,
      'x-helixflow-cache': 'use',
      'x-helixflow-cache-ttl': '1s',
    }
    const again = async () => (await bench.ask({}, { headers })).headers['x-helixflow-cache']
    const remaining = async () => {
      const answer = await fetch(`${bench.server.url}/limits`, {
        headers: { authorization: `Bearer ${key}` },
      })
      const { data } = (await answer.json()) as { data: readonly { remaining: number }[] }
      return data[0]?.remaining
    }
    bench.upstream.play((call) => sendWhole(call, chatAnswer('kept')))
    expect(await again()).toBe('miss')
    await expect.poll(remaining).toBe(9_992)
    expect(await again()).toBe('hit')
    await expect.poll(remaining).toBe(9_992)
    await expect.poll(again, { interval: 200, timeout: 3_000 }).toBe('stale')
    await expect.poll(remaining).toBe(9_984)
  })
})

describe('money', () => {
  test('a budget is never overdrawn, and says when it begins anew', async () => {
    // A request costs 3 x 0.001 + 5 x 0.002; what it may cost at most is far more.
    const { key } = await keyWith({ measure: 'money', limit: 3, period: 'month' })
    let spent = 0
    for (;;) {
      const answer = await ask(key, { max_tokens: 400 })
      if (answer.status !== 200) {
        expect(answer.status).toBe(429)
        expect(errorOf(answer)).toMatchObject({ type: 'insufficient_quota', code: 'insufficient_quota' })
        expect(answer.headers['x-should-retry']).toBe('false')
        expect(Number(answer.headers['x-helixflow-budget-reset'])).toBeGreaterThan(0)
        break
      }
      spent += 0.013
      expect(spent).toBeLessThanOrEqual(3)
    }
    // The last ones are refused for what they might have cost: prompt and 400 tokens.
    expect(spent).toBeGreaterThan(1)
  })
})

describe('shaping', () => {
  test('a request waits for its turn instead of being refused, and is told how long', async () => {
    const { key } = await keyWith({
      measure: 'requests',
      limit: 5,
      window: '1s',
      burst: 1,
      shapeMaxWait: '5s',
    })
    const answers = await Promise.all(Array.from({ length: 4 }, () => ask(key)))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    const waits = answers
      .map(({ headers }) => Number(headers['x-helixflow-shaped-ms'] ?? 0))
      .sort((a, b) => a - b)
    expect(waits[0]).toBe(0)
    expect(waits[3]).toBeGreaterThan(400)
  })

  test('beyond the longest wait it is refused', async () => {
    const { key } = await keyWith({ measure: 'requests', limit: 1, window: '1h', shapeMaxWait: '1s' })
    await ask(key)
    expect((await ask(key)).status).toBe(429)
  })
})

describe('metrics', () => {
  test('say what was decided, and by which store', async () => {
    const text = await (await fetch(bench.server.metricsUrl)).text()
    expect(text).toMatch(
      /helixflow_ratelimit_decisions_total\{algorithm="fixed-window",store="memory",outcome="refused"\} [1-9]/,
    )
    expect(text).toMatch(/helixflow_ratelimit_shaped_seconds_count\{outcome="granted"\} [1-9]/)
  })
})
