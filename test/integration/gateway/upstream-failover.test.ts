import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { freePort } from '../../support/free-port.ts'
import { post } from '../../support/raw-client.ts'
import {
  chatAnswer,
  chatEvent,
  type Script,
  ScriptedUpstream,
  sendEvents,
  sendWhole,
  wholeStream,
} from '../../support/scripted-upstream.ts'
import { type Server, startServer } from '../../support/server.ts'

/** Two servers of others share the model `shared`; `last` is asked when both are out. */
let server: Server
let one: ScriptedUpstream
let two: ScriptedUpstream
let last: ScriptedUpstream

const answers =
  (text: string): Script =>
  (call) => {
    if (JSON.parse(call.body).stream) sendEvents(call, [chatEvent(text), ...wholeStream(1)])
    else sendWhole(call, chatAnswer(text))
  }
const fails =
  (status: number): Script =>
  ({ response }) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end('{"error":{"message":"No."}}')

beforeAll(async () => {
  one = await ScriptedUpstream.start(answers('one'))
  two = await ScriptedUpstream.start(answers('two'))
  last = await ScriptedUpstream.start(answers('last'))
  const dead = `http://127.0.0.1:${await freePort()}/v1`
  const upstreams = [
    { name: 'one', url: one.url, models: ['shared'], weight: 3 },
    { name: 'two', url: two.url, models: [{ name: 'shared', as: 'their-name' }] },
    { name: 'last', url: last.url, models: ['shared'], fallback: true },
    { name: 'dead-a', url: dead, models: ['dead'] },
    { name: 'dead-b', url: dead, models: ['dead'] },
  ]
  const gateway = { firstByteTimeout: '1s', stallTimeout: '1s', requestDeadline: '6s' }
  server = await startServer({ models: {}, model: null, config: { gateway, upstreams } })
})
beforeEach(() => {
  one.play(answers('one'))
  two.play(answers('two'))
  last.play(answers('last'))
})
afterAll(async () => {
  expect(await server?.stop()).toBe(0)
  await Promise.all([one?.stop(), two?.stop(), last?.stop()])
})

function ask(model = 'shared', change: object = {}) {
  return post(`${server.url}/chat/completions`, {
    headers: { authorization: `Bearer ${server.apiKey}` },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: `${Math.random()}` }], ...change }),
  })
}

test('requests are shared by weight, each server is asked by its own name for the model, and the last by nobody', async () => {
  const all = await Promise.all(Array.from({ length: 40 }, () => ask()))
  expect(all.map(({ status }) => status)).toEqual(all.map(() => 200))
  expect(one.calls.length).toBeGreaterThan(two.calls.length)
  expect(two.calls.length).toBeGreaterThan(3)
  expect(last.calls).toEqual([])
  expect(JSON.parse(two.calls[0]?.body ?? '{}').model).toBe('their-name')
})

test('a stream that breaks in the middle is not asked for again: its beginning was seen', async () => {
  const breaks: Script = (call) => {
    call.response.writeHead(200, { 'content-type': 'text/event-stream' })
    call.response.write(chatEvent('begun'))
    setTimeout(() => call.socket.destroy(), 50)
  }
  one.play(breaks)
  two.play(breaks)
  const { text } = await ask('shared', { stream: true })
  expect(text).toContain('begun')
  expect(text).not.toContain('[DONE]')
  expect(one.calls.length + two.calls.length).toBe(1)
})

test.each([500, 429, 401])(
  'a server that says %i costs no request while another one works',
  async (status) => {
    one.play(fails(status))
    const all = await Promise.all(
      Array.from({ length: 8 }, (_, at) => ask('shared', { stream: at % 2 === 0 })),
    )
    expect(all.map((answer) => answer.status)).toEqual(all.map(() => 200))
    expect(all.every(({ text }) => !text.includes('one'))).toBe(true)
  },
)

test('when all others fail the last is asked, and when they are back it is not', async () => {
  one.play(fails(503))
  two.play(fails(503))
  // The tests before may have used up the retries of this second.
  const lasts = async () => {
    const all = await Promise.all(Array.from({ length: 6 }, () => ask()))
    return all.filter(({ status, text }) => status === 200 && text.includes('last')).length
  }
  await expect.poll(lasts).toBe(6)
  one.play(answers('one'))
  two.play(answers('two'))
  const backAgain = async () => {
    await ask()
    return one.calls.length + two.calls.length
  }
  await expect.poll(backAgain, { timeout: 20_000 }).toBeGreaterThan(2)
  last.play(answers('last'))
  await Promise.all(Array.from({ length: 5 }, () => ask()))
  expect(last.calls).toEqual([])
})

test('when nobody answers at all, requests fail and say that a repeat may help', async () => {
  for (let i = 0; i < 6; i++) await ask('dead')
  const { status, text, headers } = await ask('dead')
  expect(status).toBe(502)
  expect(JSON.parse(text).error.code).toBe('upstream_unavailable')
  expect(Number(headers['retry-after-ms'])).toBeGreaterThan(0)
})
