import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../src/client/client.ts'
import { writeTinyModel } from '../../src/engines/gguf/tiny-model.ts'
import { helixflow } from '../support/helixflow.ts'
import { processesWith } from '../support/processes.ts'
import { type Server, type ServerOptions, startServer, tinyModel } from '../support/server.ts'

async function start(options: ServerOptions = {}): Promise<Server> {
  const server = await startServer(options)
  onTestFinished(async () => void (await server.stop()))
  return server
}

function temporaryHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-test-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  return home
}

function ask(server: Server, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${server.url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }], max_tokens: 3, ...body }),
    ...(signal ? { signal } : {}),
  })
}

async function tinyMemoryBytes(): Promise<number> {
  const server = await start()
  const { out } = await helixflow(server, 'models', 'show', 'tiny', '--json')
  await server.stop()
  return (JSON.parse(out) as { memoryBytes: number }).memoryBytes
}

describe('SIGTERM', () => {
  test('turns readiness off at once, lets streams finish, refuses new requests, and leaves nothing running', async () => {
    const server = await start({ config: { models: { contextLength: 2_048 } } })
    const answer = await ask(server, { model: 'tiny', max_tokens: 1_900, stream: true })
    const reader = answer.body?.getReader()
    await reader?.read()
    server.process.kill('SIGTERM')
    await server.logged(/stopping/)
    const ready = await fetch(`${server.origin}/readyz`)
    expect(ready.status).toBe(503)
    expect(await ready.json()).toMatchObject({ reasons: [{ code: 'server_draining' }] })
    const refused = await ask(server, { model: 'tiny' })
    expect(refused.status).toBe(503)
    expect(refused.headers.get('x-should-retry')).toBe('true')
    expect(refused.headers.get('connection')).toBe('close')
    let text = ''
    for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
      text += Buffer.from(part.value).toString()
    }
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(await server.stop()).toBe(0)
    expect(processesWith(server.home)).toEqual([])
  })

  test('ends streams that outlast the grace time with an error event, never cleanly', async () => {
    const server = await start({
      config: { gateway: { drainGrace: '200ms' }, models: { contextLength: 2_048 } },
      models: { tiny: await tinyModel() },
    })
    const answer = await ask(server, { model: 'tiny', max_tokens: 2_000, n: 4, stream: true })
    let text = ''
    const read = async () => {
      for await (const chunk of answer.body ?? []) {
        if (text === '') server.process.kill('SIGTERM')
        text += Buffer.from(chunk as Uint8Array).toString()
      }
    }
    await expect(read()).rejects.toThrow()
    expect(text).toContain('"code":"server_draining"')
    expect(text).not.toContain('[DONE]')
    expect(await server.stop()).toBe(0)
  })
})

test('kill -9 leaves no engine and no database behind, and the next start works with the same keys', async () => {
  const home = temporaryHome()
  const first = await start({ home })
  first.process.kill('SIGKILL')
  await first.stop()
  await expect.poll(() => processesWith(home), { timeout: 10_000 }).toEqual([])
  const second = await start({ home })
  expect(second.apiKey, 'a key is made only once').toBe('')
  expect((await ask({ ...second, apiKey: first.apiKey }, { model: 'tiny' })).status).toBe(200)
})

test('a second start on the same data is refused with a clear message', async () => {
  const server = await start()
  const second = await helixflow(server, 'up', '--port', '0')
  expect(second.code).toBe(1)
  expect(second.err).toMatch(/Another HelixFlow/)
  expect(second.err).toContain(String(server.pid))
  expect((await ask(server, { model: 'tiny' })).status, 'the first one is not disturbed').toBe(200)
})

describe('models', () => {
  test('load on the first request, live side by side, and go when they idled for their time', async () => {
    const server = await start({
      models: { one: await tinyModel(1), two: await tinyModel(2) },
      // Longer than it takes a busy machine to ask.
      config: { models: { keepAlive: '6s' } },
    })
    const states = async () => {
      const { out } = await helixflow(server, 'models', 'list', '--json')
      return Object.fromEntries(
        (JSON.parse(out) as { name: string; state: string }[]).map((m) => [m.name, m.state]),
      )
    }
    expect((await states())['two']).toBe('available')
    expect((await ask(server, { model: 'two' })).status).toBe(200)
    expect((await ask(server, { model: 'one' })).status).toBe(200)
    expect(await states()).toEqual({ one: 'ready', two: 'ready' })
    await expect.poll(states, { timeout: 30_000 }).toEqual({ one: 'available', two: 'available' })
  })

  test('that do not fit together take turns; one that never fits is refused at once', async () => {
    const server = await start({
      models: { one: await tinyModel(1), two: await tinyModel(2) },
      config: {
        // Room for one and a half.
        engines: { memoryLimit: `${Math.round(1.5 * (await tinyMemoryBytes()))}B` },
        models: { perModel: { huge: { contextLength: 2_048, slots: 256 } } },
      },
    })
    for (const model of ['two', 'one', 'two']) expect((await ask(server, { model })).status).toBe(200)
    const { out } = await helixflow(server, 'models', 'list', '--json')
    const ready = (JSON.parse(out) as { name: string; state: string }[]).filter(
      ({ state }) => state === 'ready',
    )
    expect(ready.map(({ name }) => name)).toEqual(['two'])
    await writeTinyModel(join(server.home, 'models', 'huge.gguf'), {
      seed: 3,
      layers: 64,
      contextLength: 2_048,
    })
    const refused = await ask(server, { model: 'huge' })
    expect(refused.status).toBe(503)
    expect(refused.headers.get('x-should-retry')).toBe('false')
    expect(await refused.json()).toMatchObject({ error: { code: 'model_does_not_fit' } })
  })

  test('are loaded, unloaded, shown and removed from the command line', async () => {
    const server = await start({ models: { tiny: await tinyModel() }, model: null })
    expect((await helixflow(server, 'models', 'load', 'tiny')).out).toMatch(/tiny is ready/)
    expect(JSON.parse((await helixflow(server, 'models', 'show', 'tiny', '--json')).out)).toMatchObject({
      state: 'ready',
    })
    expect((await helixflow(server, 'models', 'unload', 'tiny')).out).toMatch(/unloaded/)
    expect((await helixflow(server, 'models', 'rm', 'tiny')).code).toBe(0)
    expect((await ask(server, { model: 'tiny' })).status).toBe(404)
    expect((await helixflow(server, 'models', 'load', 'tiny')).err).toMatch(/does not exist/)
  })

  test('whose file is broken are refused before native code sees them, and named in the list', async () => {
    const server = await start({ model: null })
    const path = join(server.home, 'models', 'broken.gguf')
    writeFileSync(path, readFileSync(await tinyModel()))
    truncateSync(path, 100_000)
    const answer = await ask(server, { model: 'broken' })
    expect(answer.status).toBe(503)
    expect(await answer.json()).toMatchObject({ error: { code: 'model_unavailable' } })
    expect((await helixflow(server, 'models', 'list')).out).toMatch(/broken +failed/)
  })
})

test('without a model the server runs, says why it is not ready, and becomes ready when one is put there', async () => {
  const server = await start({ models: {}, model: null })
  const readiness = async () => (await fetch(`${server.origin}/readyz`)).json()
  await expect
    .poll(readiness)
    .toMatchObject({ status: 'not_ready', reasons: [{ code: 'model_unavailable' }] })
  expect((await fetch(`${server.origin}/livez`)).status).toBe(200)
  const pulled = await helixflow(server, 'models', 'pull', await tinyModel(), '--name', 'mine', '--json')
  expect(JSON.parse(pulled.out)).toMatchObject({ name: 'mine' })
  await expect.poll(readiness, { timeout: 15_000 }).toMatchObject({ status: 'ready' })
  expect((await ask(server, { model: 'mine' })).status).toBe(200)
})

test('no source for the default model: the server starts, and the error names three ways to supply one', async () => {
  const server = await start({
    models: {},
    model: 'smollm2-135m-instruct',
    environment: {
      HF_ENDPOINT: 'http://127.0.0.1:9',
      PIP_INDEX_URL: 'http://127.0.0.1:9/simple',
      PIP_CONFIG_FILE: '/dev/null',
    },
  })
  await server.logged(/no model to serve/)
  const [line = ''] = /[^\n]*no model to serve[^\n]*/.exec(server.log()) ?? []
  expect(line).toContain(join(server.home, 'models'))
  expect(line).toContain('helixflow models pull')
  expect(line).toMatch(/HF_ENDPOINT|index-url/)
  expect((await fetch(`${server.origin}/readyz`)).status).toBe(503)
})

describe('keys', () => {
  test('are created, listed without their secret, and revoked everywhere at once', async () => {
    const server = await start()
    const created = JSON.parse((await helixflow(server, 'keys', 'create', 'for a test', '--json')).out)
    const other = { ...server, apiKey: created.plaintext as string }
    expect((await ask(other, { model: 'tiny' })).status).toBe(200)
    const list = (await helixflow(server, 'keys', 'list', '--json')).out
    expect(JSON.parse(list).data).toHaveLength(2)
    expect(list).not.toContain(created.plaintext)
    expect((await helixflow(server, 'keys', 'revoke', created.id)).code).toBe(0)
    const refused = await ask(other, { model: 'tiny' })
    expect(refused.status).toBe(401)
    expect(await refused.json()).toMatchObject({ error: { code: 'api_key_revoked' } })
    expect(server.log(), 'no secret is ever logged').not.toContain(created.plaintext)
    expect(server.log()).not.toContain(server.apiKey)
  })
})

describe('the command line', () => {
  test('chats: the answer streams to standard output', async () => {
    const server = await start()
    const { code, out } = await helixflow(server, 'chat', 'tiny', '-m', 'Hello')
    expect(code).toBe(0)
    expect(out.trim().length).toBeGreaterThan(0)
    const active = await helixflow(server, 'keys', 'list', '--state', 'active', '--json')
    expect(JSON.parse(active.out).data).toHaveLength(1)
  })

  test('chats: what the server refuses is said, and a server that is not there', async () => {
    const server = await start()
    const unknown = await helixflow(server, 'chat', 'none', '-m', 'Hello', '--json')
    expect([unknown.code, JSON.parse(unknown.err).error.code]).toEqual([1, 'model_not_found'])
    const wrongKey = await helixflow(
      server,
      'chat',
      'tiny',
      '-m',
      'Hello',
      '--key',
      'hf_live_wrong',
      '--json',
    )
    expect([wrongKey.code, JSON.parse(wrongKey.err).error.code]).toEqual([1, 'invalid_api_key'])
    const nowhere = ['--url', 'http://127.0.0.1:1', '--key', server.apiKey, '--json']
    const gone = await helixflow(server, 'chat', 'tiny', '-m', 'Hello', ...nowhere)
    expect([gone.code, JSON.parse(gone.err).error.code]).toEqual([1, 'not_running'])
  })

  test('shows what goes on, once and again and again, also where there is no terminal', async () => {
    const server = await start()
    const client = new HelixFlowClient({ url: server.origin, apiKey: server.apiKey, WebSocket })
    const topic = client.subscribe('models')
    await topic.ready
    const once = JSON.parse((await helixflow(server, 'top', '--once', '--json')).out)
    expect(once).toMatchObject({
      server: { url: server.origin },
      requestsInFlight: 0,
      realtime: { connections: 1, streams: 0, topics: { models: 1 } },
      models: [{ name: 'tiny', state: 'ready' }],
    })
    expect((await helixflow(server, 'top', '--once')).out).toMatch(/^tiny +ready +0 /m)
    const top = spawn(process.execPath, ['bin/helixflow.js', 'top', '--json', '--home', server.home], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const seen: unknown[] = []
    for await (const line of createInterface({ input: top.stdout })) {
      seen.push(JSON.parse(line))
      if (seen.length === 2) top.kill('SIGINT')
    }
    expect(seen).toHaveLength(2)
    await expect.poll(() => top.exitCode).toBe(0)
    await client.close()
  })

  test('examines itself: engines and doctor are well, and say so as JSON too', async () => {
    const server = await start()
    const engines = JSON.parse((await helixflow(server, 'engines', 'list', '--json')).out) as {
      works: boolean
    }[]
    expect(engines[0]).toMatchObject({ device: 'processor', origin: 'configured', works: true })
    expect((await helixflow(server, 'engines', 'doctor')).code).toBe(0)
    const doctor = await helixflow(server, 'doctor')
    expect(doctor.out).toMatch(/ok +server/)
    expect(doctor.out).toMatch(/ok +engine/)
  })

  test('wrong usage is exit code 2, failure 1, help 0', async () => {
    const nowhere = { home: temporaryHome() }
    expect((await helixflow(nowhere, 'modles')).code).toBe(2)
    expect((await helixflow(nowhere, 'keys', 'create', 'n', '--expires-at', 'never')).code).toBe(2)
    expect((await helixflow(nowhere, 'up', '--port', '99999')).code).toBe(1)
    const absent = await helixflow(nowhere, 'keys', 'list')
    expect([absent.code, absent.err]).toEqual([1, expect.stringContaining('not running')])
    expect((await helixflow(nowhere, 'models', '--help')).code).toBe(0)
  })
})
