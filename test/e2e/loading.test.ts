import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { helixflow } from '../support/helixflow.ts'
import { type Server, startServer, tinyModel } from '../support/server.ts'
import { wrappedEngine } from '../support/wrapped-engine.ts'

async function start(script: string, gateway: object, models: readonly string[]): Promise<Server> {
  const directory = mkdtempSync(join(tmpdir(), 'helixflow-engine-'))
  const server = await startServer({
    models: Object.fromEntries(
      await Promise.all(models.map(async (name) => [name, await tinyModel()] as const)),
    ),
    model: null,
    config: { engines: { llamaServer: await wrappedEngine(directory, script) }, gateway },
  })
  onTestFinished(async () => {
    await server.stop()
    rmSync(directory, { recursive: true })
  })
  return server
}

function ask(server: Server, body: object): Promise<Response> {
  return fetch(`${server.url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }], max_tokens: 3, ...body }),
  })
}

const SLOW = '[ "$alias" = slow ] && sleep 4'

test('a request waits for its model; many wait for one load', async () => {
  const server = await start(SLOW, {}, ['slow'])
  const answers = await Promise.all(Array.from({ length: 5 }, () => ask(server, { model: 'slow' })))
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
  expect(server.log().match(/"event":"loading model"/g)).toHaveLength(1)
  // Whose log says who served them, and that they waited for it.
  await expect.poll(() => server.log().match(/"routing":"only","waitedMs":\d{4}/g)).toHaveLength(5)
})

test('a request that waited long enough is 503 model_loading, with the time to come back', async () => {
  const server = await start(SLOW, { loadWait: '500ms' }, ['slow'])
  const answer = await ask(server, { model: 'slow' })
  expect(answer.status).toBe(503)
  expect(await answer.json()).toMatchObject({ error: { code: 'model_loading', type: 'server_error' } })
  expect(Number(answer.headers.get('retry-after-ms'))).toBeGreaterThan(0)
  expect(Number(answer.headers.get('retry-after'))).toBeLessThanOrEqual(60)
})

test('a stream is told by comments what it waits for, then gets its tokens', async () => {
  const server = await start(SLOW, { waitNotice: '2s' }, ['slow'])
  const text = await (await ask(server, { model: 'slow', stream: true })).text()
  expect(text).toMatch(/^: place 1 of 1 for slow, loading slow since \d s\n\n/)
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
})

test('a stream that was told to wait and waited too long ends with an error event', async () => {
  const server = await start(SLOW, { waitNotice: '200ms', loadWait: '1s' }, ['slow'])
  const answer = await ask(server, { model: 'slow', stream: true })
  expect(answer.status).toBe(200)
  let text = ''
  const read = async () => {
    for await (const chunk of answer.body ?? []) text += Buffer.from(chunk as Uint8Array).toString()
  }
  await expect(read()).rejects.toThrow()
  expect(text).toContain('"code":"model_loading"')
})

test('a model that crashes its engine is quarantined, others go on, and the operator can put it back', async () => {
  const cause = join(mkdtempSync(join(tmpdir(), 'helixflow-cause-')), 'broken')
  onTestFinished(() => rmSync(dirname(cause), { recursive: true }))
  writeFileSync(cause, '')
  const script = `[ "$alias" = crasher ] && [ -e '${cause}' ] && kill -SEGV $$`
  const server = await start(script, {}, ['crasher', 'sound'])
  const answer = await ask(server, { model: 'crasher' })
  expect(answer.status).toBe(503)
  expect(await answer.json()).toMatchObject({ error: { code: 'model_quarantined' } })
  expect(answer.headers.get('x-should-retry')).toBe('false')
  expect(
    server
      .log()
      .match(/"event":"loading model","model":"crasher"|"model":"crasher"[^\n]*"event":"loading model"/g),
  ).toHaveLength(3)
  const again = await ask(server, { model: 'crasher' })
  expect(await again.json()).toMatchObject({ error: { code: 'model_quarantined' } })
  expect((await ask(server, { model: 'sound' })).status).toBe(200)
  rmSync(cause)
  expect((await helixflow(server, 'models', 'load', 'crasher')).out).toContain('crasher is ready')
  expect((await ask(server, { model: 'crasher' })).status).toBe(200)
})

test('a client that leaves while its model loads does not keep the request alive', async () => {
  const server = await start(SLOW, {}, ['slow'])
  const cancel = new AbortController()
  const asked = fetch(`${server.url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'slow', messages: [{ role: 'user', content: 'Hello' }] }),
    signal: cancel.signal,
  })
  await server.logged(/loading model/)
  cancel.abort()
  await expect(asked).rejects.toThrow()
  await server.logged(/"status":499/)
  expect((await ask(server, { model: 'slow' })).status, 'the load goes on for the next one').toBe(200)
})
