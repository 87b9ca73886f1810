import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, readdir, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Answer, serving, status } from '../../test/support/file-server.ts'
import { sha256Of, sourceSettings } from '../../test/support/model-sources.ts'
import { mountSmallDisk, noSmallDisk } from '../../test/support/small-disk.ts'
import { StoreBench } from '../../test/support/store-bench.ts'
import type { Progress } from '../core/progress.ts'

const DAY_MS = 24 * 60 * 60 * 1000

let bench: StoreBench

beforeEach(async () => {
  bench = await StoreBench.start()
})

afterEach(() => bench.stop())

describe('a pulled model', () => {
  test('is there under the name of its file, with all that is known of it', async () => {
    const store = await bench.openStore()
    const steps: Progress[] = []
    const model = await store.pull(bench.url('Tiny.Q8_0.gguf'), { onProgress: (step) => steps.push(step) })
    expect(model).toEqual({
      name: 'tiny.q8_0',
      revision: expect.stringContaining(model.sha256 ?? 'no hash'),
      path: join(bench.directory, 'tiny.q8_0.gguf'),
      sizeBytes: bench.tiny.length,
      sha256: sha256Of(bench.tiny),
      source: `${bench.server.url}/Tiny.Q8_0.gguf`,
      licence: undefined,
      addedAtMs: bench.nowMs,
      header: {
        architecture: 'llama',
        quantization: 'F16',
        contextLength: 4096,
        parameterCount: expect.any(Number),
        kind: 'generation',
      },
      invalidBecause: undefined,
      quarantine: undefined,
    })
    expect(steps.at(-1)).toMatchObject({ done: bench.tiny.length, total: bench.tiny.length })
    expect(await readdir(bench.directory)).toEqual(['partial', 'tiny.q8_0.gguf', 'tiny.q8_0.json'])
    expect(await readdir(join(bench.directory, 'partial'))).toEqual([])
    expect(await (await bench.openStore()).list()).toEqual([model])
  })

  test('is called as the user says', async () => {
    const store = await bench.openStore()
    expect(await store.pull(bench.url(), { name: 'mine' })).toMatchObject({ name: 'mine' })
    await expect(store.pull(bench.url(), { name: '../mine' })).rejects.toMatchObject({
      code: 'invalid_arguments',
    })
    await expect(store.pull(`${bench.server.url}/%`)).rejects.toMatchObject({
      code: 'invalid_arguments',
      message: expect.stringContaining('--name'),
    })
  })

  test('is the one that the user means, by its SHA-256', async () => {
    const store = await bench.openStore()
    await expect(store.pull(bench.url(), { sha256: sha256Of(bench.other) })).rejects.toMatchObject({
      code: 'checksum_mismatch',
    })
    await expect(store.pull(bench.url(), { sha256: 'abc' })).rejects.toMatchObject({
      code: 'invalid_arguments',
    })
    expect(await store.pull(bench.url(), { sha256: sha256Of(bench.tiny).toUpperCase() })).toMatchObject({
      name: 'tiny-model',
    })
  })

  test('by a name of the catalog comes from the first place that gives it, with its licence', async () => {
    bench.server.answer = (request, response) => {
      const answer: Answer = request.url?.startsWith('/second') ? serving(bench.tiny) : status(404)
      answer(request, response)
    }
    const catalog = bench.catalogWith('hf:owner/repo/tiny.gguf', bench.url('second.gguf'))
    const store = await bench.openStore({ catalog })
    expect(await store.pull('tiny-chat')).toMatchObject({
      name: 'tiny-chat',
      source: bench.url('second.gguf'),
      licence: 'CC0-1.0',
    })
    await expect(store.pull('tiny-chat', { sha256: sha256Of(bench.other) })).rejects.toMatchObject({
      code: 'invalid_arguments',
    })
  })

  test('comes from a path, whose file stays', async () => {
    const path = bench.path(1)
    const store = await bench.openStore()
    expect(await store.pull(path)).toMatchObject({
      name: '1',
      source: `file:${path}`,
      sha256: sha256Of(bench.tiny),
    })
    expect((await readFile(path)).equals(bench.tiny)).toBe(true)
  })
})

describe('nothing is left, no file and no part of one,', () => {
  afterEach(async () => {
    expect(await readdir(bench.directory)).toEqual(['partial'])
    expect(await readdir(join(bench.directory, 'partial'))).toEqual([])
  })

  test('of a file that is no model', async () => {
    bench.server.answer = serving(Buffer.from('<html>Please log in</html>'))
    const store = await bench.openStore()
    await expect(store.pull(bench.url())).rejects.toMatchObject({
      code: 'model_invalid',
      message: expect.stringContaining('tiny-model.gguf'),
    })
  })

  test('of a model with another checksum', async () => {
    const store = await bench.openStore()
    await expect(store.pull(bench.url(), { sha256: 'f'.repeat(64) })).rejects.toMatchObject({
      code: 'checksum_mismatch',
    })
  })

  test('when no place can be reached', async () => {
    bench.server.answer = status(404)
    const store = await bench.openStore({
      catalog: bench.catalogWith('hf:owner/repo/tiny.gguf', bench.url()),
    })
    await expect(store.pull('tiny-chat')).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining(`Put the .gguf file into ${bench.directory} `),
    })
  })
})

describe.skipIf(noSmallDisk)(`a disk that fills up${noSmallDisk ? ` (skipped: ${noSmallDisk})` : ''}`, () => {
  test('leaves nothing of the model', async () => {
    const disk = mountSmallDisk('100k')
    try {
      const store = await bench.openStore({ directory: join(disk.path, 'models') })
      bench.server.answer = (_request, response) => response.writeHead(200).end(bench.tiny)
      await expect(store.pull(bench.url())).rejects.toMatchObject({ code: 'disk_full' })
      expect(await readdir(join(disk.path, 'models'), { recursive: true })).toEqual(['partial'])
    } finally {
      disk.unmount()
    }
  })
})

describe('a pull that was stopped', () => {
  test('leaves what the next one goes on with, and no model', async () => {
    bench.server.answer = (_request, response) => {
      response.writeHead(200, { 'content-length': bench.tiny.length, etag: '"tiny"' })
      response.write(bench.tiny.subarray(0, 50_000))
    }
    const store = await bench.openStore()
    const controller = new AbortController()
    const onProgress = ({ done }: Progress) => {
      if (done === 50_000) controller.abort(new RangeError('stopped'))
    }
    await expect(store.pull(bench.url(), { signal: controller.signal, onProgress })).rejects.toThrow(
      'stopped',
    )
    expect(await store.list()).toEqual([])

    bench.server.answer = serving(bench.tiny, { etag: '"tiny"' })
    expect(await store.pull(bench.url())).toMatchObject({ sha256: sha256Of(bench.tiny) })
    expect(bench.server.seen.map(({ headers }) => headers.range)).toEqual([undefined, 'bytes=50000-'])
  })

  test('more than a week ago is cleared away, a younger one is not', async () => {
    const partial = join(bench.directory, 'partial')
    for (const [name, ageMs] of [
      ['old', 8 * DAY_MS],
      ['young', 6 * DAY_MS],
    ] as const) {
      await mkdir(join(partial, name), { recursive: true })
      await writeFile(join(partial, name, `${name}.gguf.partial`), 'x')
      const at = new Date(bench.nowMs - ageMs)
      for (const path of [join(partial, name, `${name}.gguf.partial`), join(partial, name)])
        await utimes(path, at, at)
    }
    await bench.openStore()
    expect(await readdir(partial)).toEqual(['young'])
  })
})

describe('a name that is taken', () => {
  test('by the same content is no error and fetches nothing', async () => {
    const store = await bench.openStore({ catalog: bench.catalogWith(bench.url()) })
    const first = await store.pull('tiny-chat')
    bench.server.answer = status(500)
    expect(await store.pull('tiny-chat')).toEqual(first)
    expect(await store.pull(bench.path(1), { name: 'tiny-chat' })).toEqual(first)
    expect(await store.pull(bench.url(), { name: 'tiny-chat', sha256: sha256Of(bench.tiny) })).toEqual(first)
    expect(bench.server.seen).toHaveLength(1)
  })

  test('by the same release of a source needs no network', async () => {
    const commit = 'a'.repeat(40)
    const store = await bench.openStore()
    const first = await store.pull(`hf:owner/repo@${commit}/tiny.gguf`)
    await bench.server.stop()
    expect(await store.pull(`hf:owner/repo@${commit}/tiny.gguf`)).toEqual(first)
  })

  test('by other content is an error which says what to do, and the present model stays', async () => {
    const store = await bench.openStore()
    await store.pull(bench.url(), { name: 'mine' })
    for (const [reference, sha256] of [
      [bench.path(2), undefined],
      [bench.url('unknown.gguf'), undefined],
      [bench.url(), sha256Of(bench.other)],
    ] as const) {
      await expect(store.pull(reference, { name: 'mine', sha256 })).rejects.toMatchObject({
        code: 'model_exists',
        message: expect.stringMatching(/--name.*helixflow models rm mine/),
      })
    }
    expect(await store.verify('mine')).toBe(sha256Of(bench.tiny))
  })

  test('by something that is no model is an error, and the thing stays', async () => {
    const store = await bench.openStore()
    await mkdir(join(bench.directory, 'mine.gguf'))
    await expect(store.pull(bench.url(), { name: 'mine' })).rejects.toMatchObject({
      code: 'model_exists',
      message: expect.stringContaining('is in the way'),
    })
  })
})

describe('two pulls of one model at the same time', () => {
  test('fetch it once', async () => {
    const store = await bench.openStore({ catalog: bench.catalogWith(bench.url()) })
    const again = await bench.openStore({ catalog: bench.catalogWith(bench.url()) })
    const [first, second] = await Promise.all([store.pull('tiny-chat'), again.pull('tiny-chat')])
    expect(second).toEqual(first)
    expect(bench.server.seen).toHaveLength(1)
  })

  test('from two processes give one whole model', async () => {
    const script = `
      import { ModelStore } from '${new URL('./model-store.ts', import.meta.url)}'
      import { silentLog } from '${new URL('../core/log.ts', import.meta.url)}'
      import { systemClock } from '${new URL('../system.ts', import.meta.url)}'
      const sources = ${JSON.stringify(sourceSettings({}))}
      const store = await ModelStore.open({ directory: '${bench.directory}', sources, clock: systemClock, log: silentLog })
      await store.pull('${bench.url()}', { sha256: '${sha256Of(bench.tiny)}' })`
    const pull = async () => {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script])
      let errors = ''
      child.stderr.on('data', (chunk) => (errors += chunk))
      const [code] = await once(child, 'exit')
      expect(errors).toBe('')
      expect(code).toBe(0)
    }
    await Promise.all([pull(), pull()])
    const store = await bench.openStore()
    expect(await store.verify('tiny-model')).toBe(sha256Of(bench.tiny))
    expect(bench.server.seen).toHaveLength(1)
    expect(await readdir(join(bench.directory, 'partial'))).toEqual([])
  }, 30_000)
})

describe('a stored model', () => {
  test('is gone when it is removed, and may come again', async () => {
    const store = await bench.openStore()
    await store.pull(bench.url())
    await store.remove('tiny-model')
    expect(await readdir(bench.directory)).toEqual(['partial'])
    await expect(store.get('tiny-model')).rejects.toMatchObject({ code: 'model_not_found', status: 404 })
    await expect(store.remove('tiny-model')).rejects.toMatchObject({ code: 'model_not_found' })
    await store.pull(bench.url())
  })

  test('stays in quarantine over a restart, until it is released', async () => {
    const store = await bench.openStore()
    const model = await store.pull(bench.url())
    await store.quarantine('tiny-model', 'three crashes in ten minutes')
    const restarted = await bench.openStore()
    expect(await restarted.get('tiny-model')).toEqual({
      ...model,
      quarantine: { reason: 'three crashes in ten minutes', sinceMs: bench.nowMs },
    })
    await restarted.release('tiny-model')
    expect(await store.get('tiny-model')).toEqual(model)
  })

  test('that changed on the disk is found out', async () => {
    const store = await bench.openStore()
    await store.pull(bench.url())
    const bytes = Buffer.from(bench.tiny)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
    await writeFile(join(bench.directory, 'tiny-model.gguf'), bytes)
    await expect(store.verify('tiny-model')).rejects.toMatchObject({
      code: 'checksum_mismatch',
      message: expect.stringContaining('helixflow models rm tiny-model'),
    })
  })

  test('whose manifest is damaged or gone is one that was put there by hand', async () => {
    const store = await bench.openStore()
    await store.pull(bench.url())
    await truncate(join(bench.directory, 'tiny-model.json'), 10)
    expect(await store.list()).toMatchObject([{ name: 'tiny-model', source: undefined }])
    expect(bench.warnings).toMatchObject([{ file: 'tiny-model.json' }])
    await rm(join(bench.directory, 'tiny-model.json'))
    expect(await store.list()).toMatchObject([{ name: 'tiny-model', source: undefined }])
  })

  test('whose file is gone is not there, and can be pulled again', async () => {
    const store = await bench.openStore()
    await store.pull(bench.url())
    await rename(join(bench.directory, 'tiny-model.gguf'), join(bench.root, 'away.gguf'))
    expect(await store.list()).toEqual([])
    await store.pull(bench.url())
    await copyFile(join(bench.root, 'away.gguf'), join(bench.directory, 'tiny-model.gguf'))
    expect(await store.list()).toMatchObject([{ source: bench.url() }])
  })
})
