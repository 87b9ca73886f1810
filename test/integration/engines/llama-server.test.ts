import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, truncate, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import { chatTemplatePath } from '../../../src/engines/chat-templates.ts'
import { writeTinyModel } from '../../../src/engines/gguf/tiny-model.ts'
import { askEngine } from '../../../src/engines/llama-request.ts'
import type { LlamaServer } from '../../../src/engines/llama-server.ts'
import { startTestServer, testDirectory, testEngine } from '../../support/engine.ts'
import { commandLineOf, environmentOf, isRunning, processesWith } from '../../support/processes.ts'

beforeAll(testEngine)

describe('a started engine', () => {
  test('generates, embeds, and says what it is', async () => {
    const server = await startTestServer({ slots: 2, contextLength: 1024 })
    expect(server).toMatchObject({ contextLength: 1024, supportsTools: true, vocabularySize: 1000 })
    const chat = await ask(server, '/v1/chat/completions', { ...hello, max_tokens: 5 })
    expect(chat).toMatchObject({ status: 200, body: { model: 'tiny', usage: { completion_tokens: 5 } } })
    const embedding = await ask(server, '/v1/embeddings', { input: 'Hello' })
    expect(embedding).toMatchObject({ status: 200, body: { data: [{ embedding: expect.any(Array) }] } })
  })

  // llama.cpp aborts at its start where they do not.
  test.each([3, 7])('computes in pieces that its %i slots divide', async (slots) => {
    const server = await startTestServer({ slots, contextLength: 256 })
    const chat = await ask(server, '/v1/chat/completions', { ...hello, n: slots, max_tokens: 2 })
    expect(chat).toMatchObject({ status: 200, body: { choices: Array(slots).fill(expect.anything()) } })
    const embedding = await ask(server, '/v1/embeddings', { input: 'Hello' })
    expect(embedding).toMatchObject({ status: 200, body: { data: [{ embedding: expect.any(Array) }] } })
  })

  test('answers nobody without its key', async () => {
    const server = await startTestServer()
    const stranger = { ...server.address, apiKey: 'guessed' }
    const answer = await askEngine(stranger, '/v1/chat/completions', { timeoutMs: 5_000, body: hello })
    expect(answer.status).toBe(401)
  })

  test('shows its key to nobody and knows none of our variables', async () => {
    vi.stubEnv('DATABASE_PASSWORD', 'ours')
    onTestFinished(() => void vi.unstubAllEnvs())
    const server = await startTestServer()
    expect(commandLineOf(server.pid)).not.toContain(server.address.apiKey)
    if (process.platform !== 'linux') return
    expect(Object.keys(environmentOf(server.pid)).sort()).toEqual([
      // Both hide every card from an engine on the processor.
      'CUDA_VISIBLE_DEVICES',
      'GGML_NO_BACKTRACE',
      'HIP_VISIBLE_DEVICES',
      'HOME',
      'LLAMA_API_KEY',
      'PATH',
    ])
  })

  test('leaves no process and no socket when it is stopped', async () => {
    const server = await startTestServer()
    await server.stop(5_000)
    expect(await server.exited).toMatchObject({ code: 0, signal: undefined })
    expect(isRunning(server.pid)).toBe(false)
    expect(await readdir(join(server.address.socketPath, '..'))).toEqual([])
  })

  test('is told apart from one that is frozen, and even that one can be stopped', async () => {
    const server = await startTestServer()
    expect(await server.isAlive(2_000)).toBe(true)
    process.kill(server.pid, 'SIGSTOP')
    expect(await server.isAlive(200)).toBe(false)
    await server.stop(200)
    expect(await server.exited).toMatchObject({ signal: 'SIGKILL' })
  })

  test('reports within half a second that it was killed', async () => {
    const server = await startTestServer()
    const startedMs = performance.now()
    process.kill(server.pid, 'SIGKILL')
    expect(await server.exited).toMatchObject({ signal: 'SIGKILL' })
    expect(performance.now() - startedMs).toBeLessThan(500)
    expect(await server.isAlive(500)).toBe(false)
    expect(await readdir(join(server.address.socketPath, '..'))).toEqual([])
  })

  test('tells the log nothing of what users write', async () => {
    const lines: string[] = []
    const server = await startTestServer({ log: collecting(lines) })
    const secret = 'xylophone'
    const wrong = { ...hello, grammar: `root ::= "${secret}` }
    expect((await ask(server, '/v1/chat/completions', wrong)).status).toBe(400)
    expect((await ask(server, '/completion', { prompt: { [secret]: 1 } })).status).toBe(400)
    process.kill(server.pid, 'SIGABRT')
    const { lastLines } = await server.exited
    expect([...lines, ...lastLines].filter((line) => line.includes(secret))).toEqual([])
    expect(lines.length).toBeGreaterThan(0)
  })

  test('uses the template that it is given', async () => {
    const server = await startTestServer({ chatTemplatePath: chatTemplatePath('chatml-tools') })
    expect(server.supportsTools).toBe(true)
    const call = { name: 'get_time', arguments: '{"zone":"UTC"}' }
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Time?' },
      { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: call }] },
      { role: 'tool', tool_call_id: 'a', content: 'noon' },
    ]
    const tools = [{ type: 'function', function: { name: 'get_time', parameters: { type: 'object' } } }]
    const { body } = await ask(server, '/apply-template', { messages, tools })
    const { prompt } = body as { prompt: string }
    expect(prompt).toMatch(/^<\|im_start\|>system\nBe brief\.\n\n# Tools\n/)
    expect(prompt).toContain('<tool_call>\n{"name": "get_time", "arguments": {"zone": "UTC"}}\n</tool_call>')
    expect(prompt).toContain('<|im_start|>user\n<tool_response>\nnoon\n</tool_response><|im_end|>\n')
    expect(prompt).toMatch(/<\|im_start\|>assistant\n$/)
  })
})

// Unpatched llama.cpp takes a second for the first and for ever for the second.
describe('a client that leaves', () => {
  const long = { ...hello, max_tokens: 4_000, ignore_eos: true }

  test.each([
    ['alone', 0],
    ['beside a busy stream', 1],
  ])('gives its slot back at once, %s', async (_name, others) => {
    const server = await startTestServer({ slots: 2, contextLength: 4096, modelPath: await slowModel() })
    const streams = Array.from({ length: others }, () => post(server, { ...long, stream: true }))
    await vi.waitFor(async () => expect(await busySlots(server)).toBe(others), { timeout: 10_000 })
    const leaving = post(server, long)
    await vi.waitFor(async () => expect(await busySlots(server)).toBe(others + 1), { timeout: 10_000 })
    const leftMs = performance.now()
    leaving.destroy()
    await vi.waitFor(async () => expect(await busySlots(server)).toBe(others), {
      timeout: 5_000,
      interval: 5,
    })
    expect(performance.now() - leftMs).toBeLessThan(500)
    for (const stream of streams) stream.destroy()
  })
})

describe('a start that fails', () => {
  test('says what is wrong with the model', async () => {
    const directory = await testDirectory()
    const modelPath = join(directory, 'cut.gguf')
    await writeTinyModel(modelPath, { seed: 1 })
    await truncate(modelPath, 200_000)
    const failure = await startTestServer({ modelPath, alias: 'cut' }).catch((cause: unknown) => cause)
    expect(failure).toBeInstanceOf(HelixError)
    expect(failure).toMatchObject({
      code: 'engine_failed',
      publicMessage: expect.stringMatching(/error loading model: .*(exit code 1)/),
      cause: { code: 1, signal: undefined, lastLines: expect.any(Array) },
    })
    expect((failure as HelixError).publicMessage).not.toContain(directory)
    expect(processesWith(directory)).toEqual([])
  })

  test('ends an engine that is not ready in time', async () => {
    const { script, directory } = await sleepingEngine()
    const start = startTestServer({
      engine: { origin: 'path', serverPath: script, patches: [] },
      startTimeoutMs: 300,
    })
    await expect(start).rejects.toMatchObject({ code: 'engine_failed', cause: undefined })
    expect(processesWith(directory)).toEqual([])
  })

  test('ends the engine when it is aborted', async () => {
    const { script, directory } = await sleepingEngine()
    const controller = new AbortController()
    const start = startTestServer({
      engine: { origin: 'path', serverPath: script, patches: [] },
      signal: controller.signal,
    }).catch((cause: unknown) => cause)
    await vi.waitFor(() => expect(processesWith(directory).length).toBeGreaterThan(0), { timeout: 10_000 })
    const reason = new HelixError('server_draining', 'told to stop')
    controller.abort(reason)
    expect(await start).toBe(reason)
    expect(processesWith(directory)).toEqual([])
  })

  test('is refused where the path of the socket would be too long', async () => {
    const socketDirectory = join(await testDirectory(), 'long'.repeat(25))
    await expect(startTestServer({ socketDirectory })).rejects.toMatchObject({
      code: 'invalid_configuration',
    })
  })

  test('is reported where the program is none', async () => {
    const directory = await testDirectory()
    await expect(
      startTestServer({ engine: { origin: 'path', serverPath: join(directory, 'absent'), patches: [] } }),
    ).rejects.toMatchObject({ code: 'engine_failed' })
  })
})

test('an engine dies with its parent, even by SIGKILL', async () => {
  const directory = await testDirectory()
  const parent = spawnParent(directory, await testEngine())
  onTestFinished(() => void parent.kill('SIGKILL'))
  const [line] = (await once(parent.stdout ?? parent, 'data')) as [Buffer]
  const pid = Number(line.toString())
  expect(isRunning(pid)).toBe(true)
  parent.kill('SIGKILL')
  await vi.waitFor(() => expect(isRunning(pid)).toBe(false), { timeout: 5_000 })
})

const hello = { messages: [{ role: 'user', content: 'Hello' }] }

function ask(server: LlamaServer, path: string, body?: object) {
  return askEngine(server.address, path, { timeoutMs: 20_000, body })
}

/** A request in flight, whose answer nobody reads to the end. */
function post(server: LlamaServer, body: object) {
  const { socketPath, apiKey } = server.address
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` }
  const outgoing = request({
    socketPath,
    path: '/v1/chat/completions',
    method: 'POST',
    headers,
    agent: false,
  })
  outgoing.on('error', () => {})
  outgoing.on('response', (answer) => answer.on('error', () => {}).resume())
  outgoing.end(JSON.stringify(body))
  return outgoing
}

async function busySlots(server: LlamaServer): Promise<number> {
  const { body } = await ask(server, '/slots')
  return (body as { is_processing: boolean }[]).filter((slot) => slot.is_processing).length
}

/** Slow enough that thousands of tokens take much longer than noticing a closed connection. */
async function slowModel(): Promise<string> {
  const path = join(await testDirectory(), 'slow.gguf')
  await writeTinyModel(path, {
    seed: 3,
    layers: 8,
    embeddingLength: 256,
    feedForwardLength: 1024,
    type: 'Q8_0',
  })
  return path
}

/** Passes for an engine that never gets ready. */
async function sleepingEngine(): Promise<{ script: string; directory: string }> {
  const directory = await testDirectory()
  const script = join(directory, 'llama-server')
  await writeFile(script, '#!/bin/sh\nsleep 60\n', { mode: 0o755 })
  return { script, directory }
}

function collecting(lines: string[]): Logger {
  const log: Logger = {
    ...silentLog,
    debug: (event, fields) => lines.push(`${event} ${JSON.stringify(fields)}`),
    with: () => log,
  }
  return log
}

function spawnParent(directory: string, engine: object): ChildProcess {
  const source = `
    import { silentLog as log } from '../../../src/core/log.ts'
    import { writeTinyModel } from '../../../src/engines/gguf/tiny-model.ts'
    import { startLlamaServer } from '../../../src/engines/llama-server.ts'
    import { systemClock as clock } from '../../../src/system.ts'
    const modelPath = '${directory}/tiny.gguf'
    await writeTinyModel(modelPath, { seed: 1 })
    const server = await startLlamaServer({
      engine: ${JSON.stringify(engine)}, modelPath, alias: 'tiny', kind: 'generation', slots: 1,
      contextLength: 512, threads: 1, socketDirectory: '${directory}/run', startTimeoutMs: 30000, clock, log,
    })
    console.log(server.pid)
    setInterval(() => {}, 1000)
  `
  return spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', source], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}
