import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import type { Engine } from '../../../src/engines/engine.ts'
import { askEngine } from '../../../src/engines/llama-request.ts'
import { startTestServer, testDirectory, testEngine } from '../../support/engine.ts'
import { startScripted, writeModelFolder } from '../../support/managed-engine.ts'
import { commandLineOf, isRunning, processesOfGroup, processesWith } from '../../support/processes.ts'

/** What every engine can be started with. */
interface Changes {
  readonly socketDirectory?: string
  readonly startTimeoutMs?: number
  readonly signal?: AbortSignal
  readonly log?: Logger
}

interface Subject {
  readonly kind: Engine['kind']
  start(changes?: Changes): Promise<Engine>
  /** One that never gets ready; a process of it has the folder in its command line. */
  startSleeping(folder: string, changes: Changes): Promise<Engine>
  /** One that cannot load its model. */
  startBroken(): Promise<Engine>
}

const llama: Subject = {
  kind: 'llama-server',
  start: (changes = {}) => startTestServer(changes),
  startSleeping: (folder, changes) => startTestServer({ engine: sleeping(folder), ...changes }),
  startBroken: () => startTestServer({ modelPath: '/dev/null' }),
}

/** vLLM and SGLang need a card; a script speaks for them. */
function scripted(kind: 'vllm' | 'sglang'): Subject {
  return {
    kind,
    start: (changes = {}) => startScripted(kind, changes),
    startSleeping: (folder, changes) =>
      startScripted(kind, { modelPath: writeModelFolder(folder, { neverReady: true }), ...changes }),
    startBroken: () => startScripted(kind, { behaviour: { failsToStart: true } }),
  }
}

beforeAll(testEngine)

describe.each([llama, scripted('vllm'), scripted('sglang')])('an engine: $kind', (subject) => {
  test('generates for whoever has its key, and for nobody else', async () => {
    const engine = await subject.start()
    expect(engine).toMatchObject({ kind: subject.kind, contextLength: 1024, vocabularySize: 1000 })
    const body = { model: 'tiny', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 2 }
    const ask = (address: Engine['address']) =>
      askEngine(address, '/v1/chat/completions', { timeoutMs: 20_000, body })
    expect(await ask(engine.address)).toMatchObject({
      status: 200,
      body: { model: 'tiny', usage: { completion_tokens: 2 } },
    })
    expect((await ask({ ...engine.address, apiKey: 'guessed' })).status).toBe(401)
  })

  test('shows its key neither in its command line nor in the log', async () => {
    const lines: string[] = []
    const engine = await subject.start({ log: collecting(lines) })
    expect(engine.address.apiKey).toMatch(/.{20}/)
    expect(commandLineOf(engine.pid)).not.toContain(engine.address.apiKey)
    expect(lines.join('\n')).not.toContain(engine.address.apiKey)
  })

  test('is alive and works; frozen it does neither, and can be stopped all the same', async () => {
    const engine = await subject.start()
    expect([await engine.isAlive(2_000), await engine.isWorking(2_000)]).toEqual([true, true])
    process.kill(engine.pid, 'SIGSTOP')
    expect([await engine.isAlive(200), await engine.isWorking(200)]).toEqual([false, false])
    await engine.stop(200)
    expect(await engine.exited).toMatchObject({ signal: 'SIGKILL' })
  })

  test('leaves no process and no file when it is stopped', async () => {
    const socketDirectory = join(await testDirectory(), 'run')
    const engine = await subject.start({ socketDirectory })
    await engine.stop(5_000)
    expect(await engine.exited).toMatchObject({ code: 0, signal: undefined })
    expect(isRunning(engine.pid)).toBe(false)
    expect(processesOfGroup(engine.pid)).toEqual([])
    expect(readdirSync(socketDirectory)).toEqual([])
  })

  test('is reported when it was killed, and takes what it had started with it', async () => {
    const engine = await subject.start()
    process.kill(engine.pid, 'SIGKILL')
    expect(await engine.exited).toMatchObject({ signal: 'SIGKILL' })
    await vi.waitFor(() => expect(processesOfGroup(engine.pid)).toEqual([]), { timeout: 5_000 })
    expect(await engine.isAlive(500)).toBe(false)
  })

  test('says what is wrong with a model that it cannot load, and not where that lies', async () => {
    const failure = await subject.startBroken().catch((cause: unknown) => cause)
    expect(failure).toBeInstanceOf(HelixError)
    expect(failure).toMatchObject({
      code: 'engine_failed',
      publicMessage: expect.stringMatching(/could not load tiny: .*\(exit code 1\)/),
      cause: { code: 1, signal: undefined },
    })
    expect((failure as HelixError).publicMessage).not.toContain(tmpdir())
  })

  test('is ended when it is not ready in time', async () => {
    const folder = join(await testDirectory(), 'model')
    await expect(subject.startSleeping(folder, { startTimeoutMs: 300 })).rejects.toMatchObject({
      code: 'engine_failed',
      cause: undefined,
    })
    expect(processesWith(folder)).toEqual([])
  })

  test('is ended when its start is aborted', async () => {
    const folder = join(await testDirectory(), 'model')
    const controller = new AbortController()
    const start = subject
      .startSleeping(folder, { signal: controller.signal })
      .catch((cause: unknown) => cause)
    await vi.waitFor(() => expect(processesWith(folder).length).toBeGreaterThan(0), { timeout: 10_000 })
    const reason = new HelixError('server_draining', 'told to stop')
    controller.abort(reason)
    expect(await start).toBe(reason)
    expect(processesWith(folder)).toEqual([])
  })
})

function sleeping(folder: string) {
  mkdirSync(folder, { recursive: true })
  const serverPath = join(folder, 'llama-server')
  if (!existsSync(serverPath)) writeFileSync(serverPath, '#!/bin/sh\nsleep 60\n', { mode: 0o755 })
  return { origin: 'path', patches: [], serverPath } as const
}

function collecting(lines: string[]): Logger {
  const log: Logger = {
    ...silentLog,
    debug: (event, fields) => lines.push(`${event} ${JSON.stringify(fields)}`),
    with: () => log,
  }
  return log
}
