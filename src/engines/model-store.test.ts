import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Answer, FileServer, serving, status } from '../../test/support/file-server.ts'
import { sha256Of, sourceSettings } from '../../test/support/model-sources.ts'
import { mountSmallDisk, noSmallDisk } from '../../test/support/small-disk.ts'
import { ManualClock } from '../core/clock.ts'
import { type LogFields, silentLog } from '../core/log.ts'
import type { Progress } from '../core/progress.ts'
import { writeTinyModel } from './gguf/tiny-model.ts'
import type { CatalogModel } from './model-sources/catalog.ts'
import { ModelStore, type ModelStoreOptions } from './model-store.ts'

const NOW_MS = 1_800_000_000_000
const DAY_MS = 24 * 60 * 60 * 1000

let models: string
let tiny: Buffer
let other: Buffer

let root: string
let directory: string
let server: FileServer
let warnings: LogFields[]

beforeAll(async () => {
  models = await mkdtemp(join(tmpdir(), 'helixflow-tiny-'))
  const make = async (seed: number) => {
    const path = join(models, `${seed}.gguf`)
    await writeTinyModel(path, { seed, vocabSize: 300, layers: 1 })
    return readFile(path)
  }
  tiny = await make(1)
  other = await make(2)
})

afterAll(() => rm(models, { recursive: true, force: true }))

beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'helixflow-store-')))
  directory = join(root, 'models')
  server = await FileServer.start(serving(tiny, { etag: '"tiny"' }))
  warnings = []
})

afterEach(async () => {
  await server.stop()
  await rm(root, { recursive: true, force: true })
})

function openStore(changes: Partial<ModelStoreOptions> = {}) {
  const log = { ...silentLog, warn: (_event: string, fields?: LogFields) => void warnings.push(fields ?? {}) }
  return ModelStore.open({
    directory,
    sources: sourceSettings({ huggingFace: { endpoint: server.url } }),
    clock: new ManualClock(NOW_MS),
    log,
    ...changes,
  })
}

function catalogWith(...sources: [string, ...string[]]): CatalogModel[] {
  return [{ name: 'tiny-chat', sha256: sha256Of(tiny), sizeBytes: tiny.length, licence: 'CC0-1.0', sources }]
}

const url = (file = 'Tiny-Model.gguf') => `${server.url}/${file}`

describe('a pulled model', () => {
  test('is there under the name of its file, with all that is known of it', async () => {
    const store = await openStore()
    const steps: Progress[] = []
    const model = await store.pull(url('Tiny.Q8_0.gguf'), { onProgress: (step) => steps.push(step) })
    expect(model).toEqual({
      name: 'tiny.q8_0',
      path: join(directory, 'tiny.q8_0.gguf'),
      sizeBytes: tiny.length,
      sha256: sha256Of(tiny),
      source: `${server.url}/Tiny.Q8_0.gguf`,
      licence: undefined,
      addedAtMs: NOW_MS,
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
    expect(steps.at(-1)).toMatchObject({ done: tiny.length, total: tiny.length })
    expect(await readdir(directory)).toEqual(['partial', 'tiny.q8_0.gguf', 'tiny.q8_0.json'])
    expect(await readdir(join(directory, 'partial'))).toEqual([])
    expect(await (await openStore()).list()).toEqual([model])
  })

  test('is called as the user says', async () => {
    const store = await openStore()
    expect(await store.pull(url(), { name: 'mine' })).toMatchObject({ name: 'mine' })
    await expect(store.pull(url(), { name: '../mine' })).rejects.toMatchObject({ code: 'invalid_arguments' })
    await expect(store.pull(`${server.url}/%`)).rejects.toMatchObject({
      code: 'invalid_arguments',
      message: expect.stringContaining('--name'),
    })
  })

  test('is the one that the user means, by its SHA-256', async () => {
    const store = await openStore()
    await expect(store.pull(url(), { sha256: sha256Of(other) })).rejects.toMatchObject({
      code: 'checksum_mismatch',
    })
    await expect(store.pull(url(), { sha256: 'abc' })).rejects.toMatchObject({ code: 'invalid_arguments' })
    expect(await store.pull(url(), { sha256: sha256Of(tiny).toUpperCase() })).toMatchObject({
      name: 'tiny-model',
    })
  })

  test('by a name of the catalog comes from the first place that gives it, with its licence', async () => {
    server.answer = (request, response) => {
      const answer: Answer = request.url?.startsWith('/second') ? serving(tiny) : status(404)
      answer(request, response)
    }
    const catalog = catalogWith('hf:owner/repo/tiny.gguf', url('second.gguf'))
    const store = await openStore({ catalog })
    expect(await store.pull('tiny-chat')).toMatchObject({
      name: 'tiny-chat',
      source: url('second.gguf'),
      licence: 'CC0-1.0',
    })
    await expect(store.pull('tiny-chat', { sha256: sha256Of(other) })).rejects.toMatchObject({
      code: 'invalid_arguments',
    })
  })

  test('comes from a path, whose file stays', async () => {
    const path = join(models, '1.gguf')
    const store = await openStore()
    expect(await store.pull(path)).toMatchObject({
      name: '1',
      source: `file:${path}`,
      sha256: sha256Of(tiny),
    })
    expect((await readFile(path)).equals(tiny)).toBe(true)
  })
})

describe('nothing is left, no file and no part of one,', () => {
  afterEach(async () => {
    expect(await readdir(directory)).toEqual(['partial'])
    expect(await readdir(join(directory, 'partial'))).toEqual([])
  })

  test('of a file that is no model', async () => {
    server.answer = serving(Buffer.from('<html>Please log in</html>'))
    const store = await openStore()
    await expect(store.pull(url())).rejects.toMatchObject({
      code: 'model_invalid',
      message: expect.stringContaining('tiny-model.gguf'),
    })
  })

  test('of a model with another checksum', async () => {
    const store = await openStore()
    await expect(store.pull(url(), { sha256: 'f'.repeat(64) })).rejects.toMatchObject({
      code: 'checksum_mismatch',
    })
  })

  test('when no place can be reached', async () => {
    server.answer = status(404)
    const store = await openStore({ catalog: catalogWith('hf:owner/repo/tiny.gguf', url()) })
    await expect(store.pull('tiny-chat')).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining(`Put the .gguf file into ${directory} `),
    })
  })
})

describe.skipIf(noSmallDisk)(`a disk that fills up${noSmallDisk ? ` (skipped: ${noSmallDisk})` : ''}`, () => {
  test('leaves nothing of the model', async () => {
    const disk = mountSmallDisk('100k')
    try {
      const store = await openStore({ directory: join(disk.path, 'models') })
      server.answer = (_request, response) => response.writeHead(200).end(tiny)
      await expect(store.pull(url())).rejects.toMatchObject({ code: 'disk_full' })
      expect(await readdir(join(disk.path, 'models'), { recursive: true })).toEqual(['partial'])
    } finally {
      disk.unmount()
    }
  })
})

describe('a pull that was stopped', () => {
  test('leaves what the next one goes on with, and no model', async () => {
    server.answer = (_request, response) => {
      response.writeHead(200, { 'content-length': tiny.length, etag: '"tiny"' })
      response.write(tiny.subarray(0, 50_000))
    }
    const store = await openStore()
    const controller = new AbortController()
    const onProgress = ({ done }: Progress) => {
      if (done === 50_000) controller.abort(new RangeError('stopped'))
    }
    await expect(store.pull(url(), { signal: controller.signal, onProgress })).rejects.toThrow('stopped')
    expect(await store.list()).toEqual([])

    server.answer = serving(tiny, { etag: '"tiny"' })
    expect(await store.pull(url())).toMatchObject({ sha256: sha256Of(tiny) })
    expect(server.seen.map(({ headers }) => headers.range)).toEqual([undefined, 'bytes=50000-'])
  })

  test('more than a week ago is cleared away, a younger one is not', async () => {
    const partial = join(directory, 'partial')
    for (const [name, ageMs] of [
      ['old', 8 * DAY_MS],
      ['young', 6 * DAY_MS],
    ] as const) {
      await mkdir(join(partial, name), { recursive: true })
      await writeFile(join(partial, name, `${name}.gguf.partial`), 'x')
      const at = new Date(NOW_MS - ageMs)
      for (const path of [join(partial, name, `${name}.gguf.partial`), join(partial, name)])
        await utimes(path, at, at)
    }
    await openStore()
    expect(await readdir(partial)).toEqual(['young'])
  })
})

describe('a name that is taken', () => {
  test('by the same content is no error and fetches nothing', async () => {
    const store = await openStore({ catalog: catalogWith(url()) })
    const first = await store.pull('tiny-chat')
    server.answer = status(500)
    expect(await store.pull('tiny-chat')).toEqual(first)
    expect(await store.pull(join(models, '1.gguf'), { name: 'tiny-chat' })).toEqual(first)
    expect(await store.pull(url(), { name: 'tiny-chat', sha256: sha256Of(tiny) })).toEqual(first)
    expect(server.seen).toHaveLength(1)
  })

  test('by the same release of a source needs no network', async () => {
    const commit = 'a'.repeat(40)
    const store = await openStore()
    const first = await store.pull(`hf:owner/repo@${commit}/tiny.gguf`)
    await server.stop()
    expect(await store.pull(`hf:owner/repo@${commit}/tiny.gguf`)).toEqual(first)
  })

  test('by other content is an error which says what to do, and the present model stays', async () => {
    const store = await openStore()
    await store.pull(url(), { name: 'mine' })
    for (const [reference, sha256] of [
      [join(models, '2.gguf'), undefined],
      [url('unknown.gguf'), undefined],
      [url(), sha256Of(other)],
    ] as const) {
      await expect(store.pull(reference, { name: 'mine', sha256 })).rejects.toMatchObject({
        code: 'model_exists',
        message: expect.stringMatching(/--name.*helixflow models rm mine/),
      })
    }
    expect(await store.verify('mine')).toBe(sha256Of(tiny))
  })

  test('by something that is no model is an error, and the thing stays', async () => {
    const store = await openStore()
    await mkdir(join(directory, 'mine.gguf'))
    await expect(store.pull(url(), { name: 'mine' })).rejects.toMatchObject({
      code: 'model_exists',
      message: expect.stringContaining('is in the way'),
    })
  })
})

describe('two pulls of one model at the same time', () => {
  test('fetch it once', async () => {
    const store = await openStore({ catalog: catalogWith(url()) })
    const again = await openStore({ catalog: catalogWith(url()) })
    const [first, second] = await Promise.all([store.pull('tiny-chat'), again.pull('tiny-chat')])
    expect(second).toEqual(first)
    expect(server.seen).toHaveLength(1)
  })

  test('from two processes give one whole model', async () => {
    const script = `
      import { ModelStore } from '${new URL('./model-store.ts', import.meta.url)}'
      import { silentLog } from '${new URL('../core/log.ts', import.meta.url)}'
      import { systemClock } from '${new URL('../system.ts', import.meta.url)}'
      const sources = ${JSON.stringify(sourceSettings({}))}
      const store = await ModelStore.open({ directory: '${directory}', sources, clock: systemClock, log: silentLog })
      await store.pull('${url()}', { sha256: '${sha256Of(tiny)}' })`
    const pull = async () => {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script])
      let errors = ''
      child.stderr.on('data', (chunk) => (errors += chunk))
      const [code] = await once(child, 'exit')
      expect(errors).toBe('')
      expect(code).toBe(0)
    }
    await Promise.all([pull(), pull()])
    const store = await openStore()
    expect(await store.verify('tiny-model')).toBe(sha256Of(tiny))
    expect(server.seen).toHaveLength(1)
    expect(await readdir(join(directory, 'partial'))).toEqual([])
  }, 30_000)
})

describe('a file that a user put into the folder', () => {
  const drop = async (name: string, content = tiny) => {
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, name), content)
  }

  test('is a model under a name made of its own, though nothing of it is hashed', async () => {
    await drop('SmolLM2 (mine).Q8_0.gguf')
    const store = await openStore()
    expect(await store.list()).toMatchObject([
      {
        name: 'smollm2-mine-.q8_0',
        path: join(directory, 'SmolLM2 (mine).Q8_0.gguf'),
        sha256: undefined,
        source: undefined,
        header: { architecture: 'llama' },
      },
    ])
    expect(await store.verify('smollm2-mine-.q8_0')).toBe(sha256Of(tiny))
    expect(await store.get('smollm2-mine-.q8_0')).toMatchObject({ sha256: sha256Of(tiny), source: undefined })
  })

  test('is listed with what is wrong with it when it cannot be loaded', async () => {
    await drop('broken.gguf', Buffer.from('GGUF'))
    expect(await (await openStore()).list()).toMatchObject([
      { name: 'broken', header: undefined, invalidBecause: expect.stringContaining('broken.gguf') },
    ])
  })

  test('is taken for a model of the catalog with the same content, whatever its name, and is not moved', async () => {
    await drop('Download (1).gguf')
    await drop('other.gguf', other)
    const store = await openStore({ catalog: catalogWith(url()) })
    expect(await store.pull('tiny-chat')).toMatchObject({
      name: 'tiny-chat',
      path: join(directory, 'Download (1).gguf'),
      sha256: sha256Of(tiny),
      licence: 'CC0-1.0',
    })
    expect(server.seen).toEqual([])
    expect((await store.list()).map(({ name }) => name)).toEqual(['other', 'tiny-chat'])
  })

  test('in place of a model makes all that was known of that one void, the quarantine too', async () => {
    const store = await openStore()
    await store.pull(url(), { name: 'mine' })
    await store.quarantine('mine', 'it crashed')
    await writeTinyModel(join(directory, 'mine.gguf'), { seed: 3, vocabSize: 400, layers: 1 })
    expect(await store.get('mine')).toMatchObject({
      sha256: undefined,
      source: undefined,
      quarantine: undefined,
    })
  })

  test('does not hide another one with the same name: it is told in the log', async () => {
    await drop('A b.gguf')
    await drop('a-b.gguf', other)
    const store = await openStore()
    await store.list()
    expect(await store.list()).toHaveLength(1)
    expect(warnings).toEqual([{ file: 'a-b.gguf', reason: 'a-b is taken' }])
  })

  test('with others that belong to it counts once, and goes with them', async () => {
    for (const part of [1, 2, 3]) await drop(`big-0000${part}-of-00003.gguf`)
    const store = await openStore()
    expect(await store.list()).toMatchObject([{ name: 'big', sizeBytes: 3 * tiny.length }])
    await expect(store.verify('big')).rejects.toMatchObject({ code: 'not_implemented' })
    await store.remove('big')
    expect(await readdir(directory)).toEqual(['partial'])
  })
})

describe('nothing outside of the folder', () => {
  test('is a model by way of a symbolic link; one within it is', async () => {
    await mkdir(directory)
    await writeFile(join(root, 'secret.gguf'), tiny)
    await symlink(join(root, 'secret.gguf'), join(directory, 'leak.gguf'))
    await symlink('../secret.gguf', join(directory, 'relative.gguf'))
    await symlink('/nonexistent', join(directory, 'nowhere.gguf'))
    await symlink('loop.gguf', join(directory, 'loop.gguf'))
    await writeFile(join(directory, 'here.gguf'), tiny)
    await symlink('here.gguf', join(directory, 'alias.gguf'))
    const store = await openStore()
    expect((await store.list()).map(({ name }) => name)).toEqual(['alias', 'here'])
    await expect(store.get('leak')).rejects.toMatchObject({ code: 'model_not_found' })
    expect(warnings.map(({ file }) => file)).toEqual(['leak.gguf', 'relative.gguf'])
    await expect(store.pull(url(), { name: 'leak' })).rejects.toMatchObject({ code: 'model_exists' })
  })

  test.each(['../secret', '/etc/passwd', '..', 'a/../../b', 'a\0b', '\u2024\u2024/b', 'sha256:../../x'])(
    'is reached by the name %j: all that take a name refuse it',
    async (name) => {
      const store = await openStore()
      const uses = [
        store.get(name),
        store.remove(name),
        store.verify(name),
        store.quarantine(name, 'no'),
        store.release(name),
        store.pull(url(), { name }),
      ]
      for (const use of uses)
        await expect(use).rejects.toMatchObject({ code: 'invalid_arguments', status: 400 })
    },
  )

  test('is reached by a manifest that names it', async () => {
    await writeFile(join(root, 'secret.gguf'), tiny)
    const store = await openStore()
    const manifest = { name: 'leak', file: '../secret.gguf', sizeBytes: tiny.length, addedAtMs: 0 }
    await writeFile(join(directory, 'leak.json'), JSON.stringify(manifest))
    expect(await store.list()).toEqual([])
    expect(warnings).toMatchObject([{ file: 'leak.json', reason: expect.stringContaining('is damaged') }])
  })

  test('counts when the folder itself is a link', async () => {
    await mkdir(join(root, 'large-disk'))
    await symlink('large-disk', directory)
    const store = await openStore()
    await store.pull(url())
    expect(await store.list()).toMatchObject([{ path: join(root, 'large-disk', 'tiny-model.gguf') }])
  })
})

describe('a stored model', () => {
  test('is gone when it is removed, and may come again', async () => {
    const store = await openStore()
    await store.pull(url())
    await store.remove('tiny-model')
    expect(await readdir(directory)).toEqual(['partial'])
    await expect(store.get('tiny-model')).rejects.toMatchObject({ code: 'model_not_found', status: 404 })
    await expect(store.remove('tiny-model')).rejects.toMatchObject({ code: 'model_not_found' })
    await store.pull(url())
  })

  test('stays in quarantine over a restart, until it is released', async () => {
    const store = await openStore()
    const model = await store.pull(url())
    await store.quarantine('tiny-model', 'three crashes in ten minutes')
    const restarted = await openStore()
    expect(await restarted.get('tiny-model')).toEqual({
      ...model,
      quarantine: { reason: 'three crashes in ten minutes', sinceMs: NOW_MS },
    })
    await restarted.release('tiny-model')
    expect(await store.get('tiny-model')).toEqual(model)
  })

  test('that changed on the disk is found out', async () => {
    const store = await openStore()
    await store.pull(url())
    const bytes = Buffer.from(tiny)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
    await writeFile(join(directory, 'tiny-model.gguf'), bytes)
    await expect(store.verify('tiny-model')).rejects.toMatchObject({
      code: 'checksum_mismatch',
      message: expect.stringContaining('helixflow models rm tiny-model'),
    })
  })

  test('whose manifest is damaged or gone is one that was put there by hand', async () => {
    const store = await openStore()
    await store.pull(url())
    await truncate(join(directory, 'tiny-model.json'), 10)
    expect(await store.list()).toMatchObject([{ name: 'tiny-model', source: undefined }])
    expect(warnings).toMatchObject([{ file: 'tiny-model.json' }])
    await rm(join(directory, 'tiny-model.json'))
    expect(await store.list()).toMatchObject([{ name: 'tiny-model', source: undefined }])
  })

  test('whose file is gone is not there, and can be pulled again', async () => {
    const store = await openStore()
    await store.pull(url())
    await rename(join(directory, 'tiny-model.gguf'), join(root, 'away.gguf'))
    expect(await store.list()).toEqual([])
    await store.pull(url())
    await copyFile(join(root, 'away.gguf'), join(directory, 'tiny-model.gguf'))
    expect(await store.list()).toMatchObject([{ source: url() }])
  })
})
