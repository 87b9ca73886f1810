import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import type { Progress } from '../../../src/core/progress.ts'
import { withFileLock } from '../../../src/engines/file-lock.ts'
import { type BuildOptions, buildLlamaServer } from '../../../src/engines/llama-build.ts'
import { compileLlamaServer } from '../../../src/engines/llama-compile.ts'
import { readOwnPatches } from '../../../src/engines/llama-patches.ts'
import { findBuildTools } from '../../../src/engines/llama-tools.ts'
import { ENGINE_CACHE, testDirectory, testEngine } from '../../support/engine.ts'
import { processesWith } from '../../support/processes.ts'
import { mountSmallDisk, noSmallDisk } from '../../support/small-disk.ts'

const searchPath = process.env['PATH'] ?? ''

beforeAll(testEngine)

describe('a build', () => {
  // Its name holds a hash of patches and flags: where it lies, those patches were applied.
  test('is found again in no time, with its libraries and its licence', async () => {
    const startedMs = performance.now()
    const build = await buildLlamaServer(options(ENGINE_CACHE))
    expect(performance.now() - startedMs).toBeLessThan(500)
    const names = await readdir(build.directory)
    expect(names).toEqual(expect.arrayContaining(['LICENSE.llama.cpp', 'build.json', 'llama-server']))
    expect(names.filter((name) => name.startsWith('libllama')).length).toBeGreaterThan(1)
    expect(JSON.parse(await readFile(join(build.directory, 'build.json'), 'utf8'))).toMatchObject({
      llamaCpp: build.version,
    })
    expect(build.patches).toEqual((await readOwnPatches()).map(({ name }) => name))
  })

  test('waits for one that is being made elsewhere and takes that', async () => {
    const cacheDirectory = await testDirectory()
    const made = await builtDirectory()
    const steps: Progress[] = []
    const lockPath = join(cacheDirectory, `${basename(made)}.lock`)
    const { building } = await withFileLock(lockPath, {}, async () => {
      const building = buildLlamaServer({
        ...options(cacheDirectory),
        npm: '/bin/false',
        onProgress: (progress) => steps.push(progress),
      })
      await vi.waitFor(() =>
        expect(steps.map(({ step }) => step).join()).toMatch(/waiting for another build/),
      )
      await cp(made, join(cacheDirectory, basename(made)), { recursive: true })
      return { building }
    })
    expect((await building).directory).toBe(join(cacheDirectory, basename(made)))
  })
})

describe('a build that fails leaves nothing, and says', () => {
  test('what is missing, and every way out, without a compiler', async () => {
    const cacheDirectory = await testDirectory()
    const failure = await failureOf({ ...options(cacheDirectory), searchPath: '' })
    expect(failure.code).toBe('compiler_missing')
    for (const wayOut of ['g++', 'apt-get', 'dnf', 'brew', 'PATH', 'engines.llamaServer']) {
      expect(failure.publicMessage).toContain(wayOut)
    }
    expect(await readdir(cacheDirectory)).toEqual([])
  })

  test('that the registry cannot be reached', async () => {
    const cacheDirectory = await testDirectory()
    const abandoned = join(cacheDirectory, `.building-${basename(await builtDirectory())}-Xyz123`)
    await mkdir(abandoned)
    const npm = await script('echo "npm error code ENOTFOUND" >&2; exit 1')
    const failure = await failureOf({ ...options(cacheDirectory), npm })
    expect(failure.code).toBe('engine_build_failed')
    expect(failure.publicMessage).toContain('npm registry')
    expect(failure.message).toContain('ENOTFOUND')
    expect(await readdir(cacheDirectory)).toEqual([])
  })

  test('that the registry delivers something else', async () => {
    const cacheDirectory = await testDirectory()
    const npm = await script('echo other > package.tgz')
    expect(await failureOf({ ...options(cacheDirectory), npm })).toMatchObject({ code: 'checksum_mismatch' })
    expect(await readdir(cacheDirectory)).toEqual([])
  })

  test('that the disk is full', async () => {
    const cacheDirectory = await testDirectory()
    const npm = await script('echo "npm error ENOSPC: no space left on device, write" >&2; exit 228')
    expect(await failureOf({ ...options(cacheDirectory), npm })).toMatchObject({ code: 'disk_full' })
  })

  test.skipIf(noSmallDisk !== undefined)(
    'that there is too little room, before anything is fetched',
    async () => {
      const disk = mountSmallDisk('10M')
      onTestFinished(() => disk.unmount())
      const npm = await script('touch fetched')
      const failure = await failureOf({ ...options(disk.path), npm })
      expect(failure).toMatchObject({ code: 'disk_full', publicMessage: expect.stringContaining('600 MB') })
      expect(await readdir(disk.path)).toEqual([])
    },
  )

  test('nothing but the reason when it is aborted, and ends its tools', async () => {
    const cacheDirectory = await testDirectory()
    const npm = await script('sleep 60')
    const controller = new AbortController()
    const failing = failureOf({ ...options(cacheDirectory), npm, signal: controller.signal })
    await vi.waitFor(() => expect(processesWith(npm).length).toBeGreaterThan(0), { timeout: 10_000 })
    const reason = new HelixError('server_draining', 'told to stop')
    controller.abort(reason)
    expect(await failing).toBe(reason)
    expect(processesWith(npm)).toEqual([])
    expect(await readdir(cacheDirectory)).toEqual([])
  })
})

describe('the compiler', () => {
  test('has its last lines in the error and all of them in a file', async () => {
    const { tree, paths } = await sourceTree()
    await writeFile(join(tree, 'tools/server/main.cpp'), 'int main() { return nonsense; }\n')
    const tools = await findBuildTools({ searchPath })
    const compiling = compileLlamaServer(tools, { ...paths, onCompiled: () => {} })
    const failure = await compiling.catch((cause: unknown) => cause)
    expect(failure).toMatchObject({
      code: 'engine_build_failed',
      message: expect.stringContaining('nonsense'),
      publicMessage: expect.stringContaining(paths.logPath),
    })
    expect(await readFile(paths.logPath, 'utf8')).toContain('tools/server/main.cpp')
  })

  test('may be any command that CXX allows', async () => {
    const { tree, paths } = await sourceTree()
    const tools = await findBuildTools({ searchPath, compiler: 'env LC_ALL=C c++' })
    // The tree lacks what the libraries have: only linking can fail.
    const failure = await compileLlamaServer(tools, { ...paths, onCompiled: () => {} }).catch(
      (cause) => cause,
    )
    expect(failure).toMatchObject({
      code: 'engine_build_failed',
      message: expect.stringContaining('libllama'),
    })
    expect((await readdir(paths.objects)).length).toBe((await sourcesIn(tree)).length)
  })
})

function options(cacheDirectory: string): BuildOptions {
  return { cacheDirectory, searchPath, onProgress: () => {}, log: silentLog }
}

async function failureOf(build: BuildOptions): Promise<HelixError> {
  return buildLlamaServer(build).then(
    (built) => expect.fail(`built ${built.directory}`),
    (cause: HelixError) => cause,
  )
}

async function builtDirectory(): Promise<string> {
  return (await buildLlamaServer(options(ENGINE_CACHE))).directory
}

/** Stands where npm would: the network is not asked for what the test is about. */
async function script(body: string): Promise<string> {
  const path = join(await testDirectory(), 'npm')
  await writeFile(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  return path
}

const SOURCES = [
  'tools/server/main.cpp',
  'tools/mtmd/mtmd.cpp',
  'tools/mtmd/models/llava.cpp',
  'tools/fit-params/fit-params.cpp',
  'tools/fit-params/main.cpp',
  'vendor/cpp-httplib/httplib.cpp',
  'vendor/hash/hash.cpp',
  'vendor/hash/sha1/sha1.c',
  'vendor/hash/sha256/sha256.c',
  'vendor/hash/xxhash/xxhash.c',
]

/** The files that a build wants, with nothing in them. */
async function sourceTree() {
  const directory = await testDirectory()
  const tree = join(directory, 'sources')
  for (const source of SOURCES) {
    await mkdir(dirname(join(tree, source)), { recursive: true })
    await writeFile(join(tree, source), source.endsWith('main.cpp') ? 'int main() { return 0; }\n' : '')
  }
  await mkdir(join(directory, 'libraries'))
  const paths = {
    sources: tree,
    libraries: join(directory, 'libraries'),
    objects: join(directory, 'objects'),
    logPath: join(directory, 'build.log'),
  }
  return { tree, paths }
}

async function sourcesIn(tree: string): Promise<string[]> {
  const names = await readdir(tree, { recursive: true })
  return names.filter((name) => /\.(c|cpp)$/.test(name))
}
