import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { helixflow } from '../support/helixflow.ts'
import { post, type RawAnswer, type RawPost } from '../support/raw-client.ts'
import {
  chatAnswer,
  ScriptedUpstream,
  sendEvents,
  sendStream,
  sendWhole,
  wholeStream,
} from '../support/scripted-upstream.ts'
import { type Server, startServer } from '../support/server.ts'
import { mountSmallDisk, noSmallDisk } from '../support/small-disk.ts'
import { usageIn } from '../support/usage-rows.ts'

function temporaryHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-test-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  return home
}

async function startBefore(upstream: ScriptedUpstream, home: string): Promise<Server> {
  onTestFinished(() => upstream.stop())
  const far = { name: 'far', url: upstream.url, models: ['far'], slots: 32 }
  const gone = { name: 'gone', url: 'http://127.0.0.1:9/v1', models: ['gone'] }
  const server = await startServer({ home, models: {}, model: null, config: { upstreams: [far, gone] } })
  onTestFinished(async () => void (await server.stop()))
  return server
}

function ask(server: Server, change: object, options: Omit<RawPost, 'body'> = {}): Promise<RawAnswer> {
  return post(`${server.url}/chat/completions`, {
    ...options,
    headers: { authorization: `Bearer ${server.apiKey}`, ...options.headers },
    body: JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'A secret' }], ...change }),
  })
}

test('whoever made an engine work has a record of what it cost; whoever did not has none', async () => {
  const upstream = await ScriptedUpstream.start((call) => sendWhole(call, chatAnswer('hi')))
  const home = temporaryHome()
  const server = await startBefore(upstream, home)
  const expected: [string, object][] = []
  const expectRow = ({ headers }: RawAnswer, row: object) =>
    expected.push([String(headers['x-request-id']), row])

  expectRow(await ask(server, { user: 'Zoë\u0000' }), {
    status: 200,
    route: '/v1/chat/completions',
    model: 'far',
    prompt_tokens: '3',
    completion_tokens: '5',
    estimated: false,
    streamed: false,
    first_token_ms: null,
    user_label: 'Zoë\ufffd',
  })
  upstream.play((call) => void sendStream(call, wholeStream(4)))
  expectRow(await ask(server, { stream: true }), {
    status: 200,
    prompt_tokens: '3',
    completion_tokens: '4',
    streamed: true,
    first_token_ms: expect.any(Number),
  })
  // One that never says how much it was: its pieces count.
  upstream.play((call) => void sendStream(call, [...wholeStream(6).slice(0, 6), 'data: [DONE]\n\n']))
  expectRow(await ask(server, { stream: true }), { status: 200, completion_tokens: '6', estimated: true })

  upstream.play((call) => void sendEvents(call, wholeStream(9).slice(0, 3)))
  expectRow(await ask(server, { stream: true }, { leaveWhen: (text) => text.includes('t2') }), {
    status: 499,
    error_code: 'client_closed_request',
    completion_tokens: '3',
    estimated: true,
  })
  upstream.play((call) => void sendEvents(call, wholeStream(9).slice(0, 2)).then(() => call.socket.destroy()))
  expectRow(await ask(server, { stream: true }), {
    status: 502,
    error_code: 'engine_failed',
    completion_tokens: '2',
  })

  upstream.play(({ response }) => response.writeHead(400).end('{"error":{"message":"No."}}'))
  const refused = [
    await ask(server, {}),
    await ask(server, { model: 'gone' }),
    await ask(server, { model: 'none' }),
    await ask(server, { temperature: 99 }),
    await ask(server, {}, { headers: { authorization: 'Bearer wrong' } }),
  ]
  expect(refused.map(({ status }) => status)).toEqual([400, 502, 404, 400, 401])

  expect(await server.stop()).toBe(0)
  const { rows } = await usageIn(home)
  expect(JSON.stringify(rows)).not.toContain('secret')
  for (const [requestId, row] of expected) {
    expect(rows.filter((one) => one.request_id === requestId)).toEqual([expect.objectContaining(row)])
  }
  expect(rows).toHaveLength(expected.length)
})

test.skipIf(noSmallDisk !== undefined)(
  'a full disk: requests are refused before they cost anything, the rest works, and room ends it',
  async () => {
    const disk = mountSmallDisk('8m')
    onTestFinished(() => disk.unmount())
    const home = temporaryHome()
    const spool = join(disk.path, 'spool')
    mkdirSync(spool)
    symlinkSync(spool, join(home, 'spool'))
    const upstream = await ScriptedUpstream.start((call) => sendWhole(call, chatAnswer('hi')))
    const server = await startBefore(upstream, home)
    const ballast = join(disk.path, 'ballast')
    expect(() => writeFileSync(ballast, Buffer.alloc(2 ** 24))).toThrow(/ENOSPC/)

    const refused = await ask(server, {})
    expect(refused.status).toBe(503)
    expect(JSON.parse(refused.text)).toMatchObject({ error: { code: 'storage_unavailable' } })
    expect(Number(refused.headers['retry-after-ms'])).toBeGreaterThan(0)
    expect(upstream.calls).toEqual([])
    expect((await fetch(`${server.origin}/livez`)).status).toBe(200)
    const readiness = async () => (await fetch(`${server.origin}/readyz`)).json()
    expect(await readiness()).toMatchObject({ reasons: [{ code: 'storage_unavailable' }] })
    expect((await helixflow(server, 'keys', 'list')).code).toBe(0)

    rmSync(ballast)
    await expect.poll(readiness, { timeout: 5_000 }).toMatchObject({ status: 'ready' })
    expect((await ask(server, {})).status).toBe(200)
    expect(await server.stop()).toBe(0)
    expect((await usageIn(home)).rows).toHaveLength(1)
  },
)
