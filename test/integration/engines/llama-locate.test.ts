import { chmod, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import { ensureLlamaServer, findLlamaServers, type LlamaEngine } from '../../../src/engines/llama-locate.ts'
import { readOwnPatches } from '../../../src/engines/llama-patches.ts'
import { systemClock } from '../../../src/system.ts'
import { ENGINE_CACHE, testDirectory, testEngine } from '../../support/engine.ts'
import { processesWith } from '../../support/processes.ts'

let engine: LlamaEngine

beforeAll(async () => {
  engine = await testEngine()
})

test('an engine that was found to work is found again within a second', async () => {
  const startedMs = performance.now()
  expect(await ensureLlamaServer({ ...places(), cacheDirectory: ENGINE_CACHE })).toEqual(engine)
  expect(performance.now() - startedMs).toBeLessThan(1_000)
})

describe('the llama-server on the PATH', () => {
  test('is taken when it works, and keeps its libraries', async () => {
    const directory = await testDirectory()
    await symlink(engine.serverPath, join(directory, 'llama-server'))
    const [found] = await findLlamaServers({ ...places(), searchPath: directory, cacheDirectory: directory })
    expect(found).toMatchObject({ origin: 'path', works: true, version: expect.stringContaining('0.5.0') })
    expect(found?.fitParamsPath).toBe(engine.fitParamsPath)
  })

  test('has our patches when it is a build of ours, and none when it is not', async () => {
    const patches = (await readOwnPatches()).map(({ name }) => name)
    const directory = await testDirectory()
    await symlink(engine.serverPath, join(directory, 'llama-server'))
    const [ours] = await findLlamaServers({ ...places(), searchPath: directory, cacheDirectory: directory })
    expect(ours?.patches).toEqual(patches)
    expect(engine.patches).toEqual(patches)
    expect((await onPath('exit 1'))?.patches).toEqual([])
  })

  test('is refused when it lacks flags that we need', async () => {
    const found = await onPath('echo "--model --host PATH.sock --alias LLAMA_API_KEY"')
    expect(found).toMatchObject({ works: false, reason: expect.stringMatching(/does not know .*--fit/) })
    expect(found?.reason).not.toMatch(/--model|--alias/)
  })

  test('is refused when it crashes', async () => {
    expect(await onPath('exit 139')).toMatchObject({ works: false, reason: expect.stringContaining('139') })
    expect(await onPath('kill -SEGV $$')).toMatchObject({
      works: false,
      reason: expect.stringContaining('SIGSEGV'),
    })
  })

  test('is refused when it cannot load or generate, whatever it says about itself', async () => {
    const found = await onPath(`[ "$1" = --help ] && exec '${engine.serverPath}' --help; exit 3`)
    expect(found).toMatchObject({
      works: false,
      reason: expect.stringMatching(/test generation failed.*code 3/),
    })
  })

  test('is not blamed when the search for an engine is aborted', async () => {
    const reason = new HelixError('server_draining', 'told to stop')
    const controller = new AbortController()
    const searchPath = await folderWith(`[ "$1" = --model ] && sleep 60; exec '${engine.serverPath}' "$1"`)
    const script = join(searchPath, 'llama-server --model')
    const options = { ...places(), searchPath, cacheDirectory: searchPath, signal: controller.signal }
    const finding = findLlamaServers(options).catch((cause: unknown) => cause)
    await vi.waitFor(() => expect(processesWith(script).length).toBeGreaterThan(0), { timeout: 10_000 })
    controller.abort(reason)
    expect(await finding).toBe(reason)
    expect(processesWith(script)).toEqual([])
  })

  test('is passed over for one that works', async () => {
    const searchPath = await folderWith('exit 139')
    expect(await ensureLlamaServer({ ...places(), searchPath, cacheDirectory: ENGINE_CACHE })).toEqual(engine)
  })
})

describe('the configured llama-server', () => {
  test('goes before all others', async () => {
    const searchPath = await folderWith('exit 139')
    const configuredPath = engine.serverPath
    const found = await ensureLlamaServer({ ...places(), searchPath, configuredPath })
    expect(found).toMatchObject({ origin: 'configured', serverPath: configuredPath })
  })

  test('is never silently replaced', async () => {
    const configuredPath = join(await folderWith('exit 139'), 'llama-server')
    const options = { ...places(), configuredPath, cacheDirectory: ENGINE_CACHE }
    await expect(ensureLlamaServer(options)).rejects.toMatchObject({
      code: 'engine_unusable',
      publicMessage: expect.stringMatching(/139.*engines\.llamaServer/),
    })
    await chmod(configuredPath, 0o644)
    await expect(ensureLlamaServer(options)).rejects.toMatchObject({
      publicMessage: expect.stringContaining('not an executable file'),
    })
  })
})

test('without any engine and any compiler, the ways out are told', async () => {
  const cacheDirectory = await testDirectory()
  await expect(ensureLlamaServer({ ...places(), cacheDirectory })).rejects.toMatchObject({
    code: 'compiler_missing',
    publicMessage: expect.stringMatching(/apt-get install g\+\+.*engines\.llamaServer/s),
  })
})

function places() {
  return {
    searchPath: '',
    cacheDirectory: '/nonexistent',
    onProgress: () => {},
    clock: systemClock,
    log: silentLog,
  }
}

async function onPath(body: string) {
  const searchPath = await folderWith(body)
  const [found] = await findLlamaServers({ ...places(), searchPath, cacheDirectory: searchPath })
  return found
}

async function folderWith(body: string): Promise<string> {
  const directory = await testDirectory()
  await writeFile(join(directory, 'llama-server'), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  return directory
}
