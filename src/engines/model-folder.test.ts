import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sha256Of } from '../../test/support/model-sources.ts'
import { StoreBench } from '../../test/support/store-bench.ts'
import { writeTinyModel } from './gguf/tiny-model.ts'

let bench: StoreBench

beforeEach(async () => {
  bench = await StoreBench.start()
})

afterEach(() => bench.stop())

describe('a file that a user put into the folder', () => {
  test('is a model under a name made of its own, though nothing of it is hashed', async () => {
    await bench.drop('SmolLM2 (mine).Q8_0.gguf')
    const store = await bench.openStore()
    expect(await store.list()).toMatchObject([
      {
        name: 'smollm2-mine-.q8_0',
        path: join(bench.directory, 'SmolLM2 (mine).Q8_0.gguf'),
        sha256: undefined,
        source: undefined,
        header: { architecture: 'llama' },
      },
    ])
    expect(await store.verify('smollm2-mine-.q8_0')).toBe(sha256Of(bench.tiny))
    expect(await store.get('smollm2-mine-.q8_0')).toMatchObject({
      sha256: sha256Of(bench.tiny),
      source: undefined,
    })
  })

  test('is listed with what is wrong with it when it cannot be loaded', async () => {
    await bench.drop('broken.gguf', Buffer.from('GGUF'))
    expect(await (await bench.openStore()).list()).toMatchObject([
      { name: 'broken', header: undefined, invalidBecause: expect.stringContaining('broken.gguf') },
    ])
  })

  test('is taken for a model of the catalog with the same content, whatever its name, and is not moved', async () => {
    await bench.drop('Download (1).gguf')
    await bench.drop('other.gguf', bench.other)
    const store = await bench.openStore({ catalog: bench.catalogWith(bench.url()) })
    expect(await store.pull('tiny-chat')).toMatchObject({
      name: 'tiny-chat',
      path: join(bench.directory, 'Download (1).gguf'),
      sha256: sha256Of(bench.tiny),
      licence: 'CC0-1.0',
    })
    expect(bench.server.seen).toEqual([])
    expect((await store.list()).map(({ name }) => name)).toEqual(['other', 'tiny-chat'])
  })

  test('in place of a model makes all that was known of that one void, the quarantine too', async () => {
    const store = await bench.openStore()
    await store.pull(bench.url(), { name: 'mine' })
    await store.quarantine('mine', 'it crashed')
    await writeTinyModel(join(bench.directory, 'mine.gguf'), { seed: 3, vocabSize: 400, layers: 1 })
    expect(await store.get('mine')).toMatchObject({
      sha256: undefined,
      source: undefined,
      quarantine: undefined,
    })
  })

  test('does not hide another one with the same name: it is told in the log', async () => {
    await bench.drop('A b.gguf')
    await bench.drop('a-b.gguf', bench.other)
    const store = await bench.openStore()
    await store.list()
    expect(await store.list()).toHaveLength(1)
    expect(bench.warnings).toEqual([{ file: 'a-b.gguf', reason: 'a-b is taken' }])
  })

  test('with others that belong to it counts once, and goes with them', async () => {
    for (const part of [1, 2, 3]) await bench.drop(`big-0000${part}-of-00003.gguf`)
    const store = await bench.openStore()
    expect(await store.list()).toMatchObject([{ name: 'big', sizeBytes: 3 * bench.tiny.length }])
    await expect(store.verify('big')).rejects.toMatchObject({ code: 'not_implemented' })
    await store.remove('big')
    expect(await readdir(bench.directory)).toEqual(['partial'])
  })
})

describe('nothing outside of the folder', () => {
  test('is a model by way of a symbolic link; one within it is', async () => {
    await mkdir(bench.directory)
    await writeFile(join(bench.root, 'secret.gguf'), bench.tiny)
    await symlink(join(bench.root, 'secret.gguf'), join(bench.directory, 'leak.gguf'))
    await symlink('../secret.gguf', join(bench.directory, 'relative.gguf'))
    await symlink(join(bench.root, 'missing'), join(bench.directory, 'nowhere.gguf'))
    await symlink('loop.gguf', join(bench.directory, 'loop.gguf'))
    await writeFile(join(bench.directory, 'here.gguf'), bench.tiny)
    await symlink('here.gguf', join(bench.directory, 'alias.gguf'))
    const store = await bench.openStore()
    expect((await store.list()).map(({ name }) => name)).toEqual(['alias', 'here'])
    await expect(store.get('leak')).rejects.toMatchObject({ code: 'model_not_found' })
    expect(bench.warnings.map(({ file }) => file)).toEqual(['leak.gguf', 'relative.gguf'])
    await expect(store.pull(bench.url(), { name: 'leak' })).rejects.toMatchObject({ code: 'model_exists' })
  })

  test.each(['../secret', '/etc/passwd', '..', 'a/../../b', 'a\0b', '\u2024\u2024/b', 'sha256:../../x'])(
    'is reached by the name %j: all that take a name refuse it',
    async (name) => {
      const store = await bench.openStore()
      const uses = [
        store.get(name),
        store.remove(name),
        store.verify(name),
        store.quarantine(name, 'no'),
        store.release(name),
        store.pull(bench.url(), { name }),
      ]
      for (const use of uses)
        await expect(use).rejects.toMatchObject({ code: 'invalid_arguments', status: 400 })
    },
  )

  test('is reached by a manifest that names it', async () => {
    await writeFile(join(bench.root, 'secret.gguf'), bench.tiny)
    const store = await bench.openStore()
    const manifest = { name: 'leak', file: '../secret.gguf', sizeBytes: bench.tiny.length, addedAtMs: 0 }
    await writeFile(join(bench.directory, 'leak.json'), JSON.stringify(manifest))
    expect(await store.list()).toEqual([])
    expect(bench.warnings).toMatchObject([
      { file: 'leak.json', reason: expect.stringContaining('is damaged') },
    ])
  })

  test('counts when the folder itself is a link', async () => {
    await mkdir(join(bench.root, 'large-disk'))
    await symlink('large-disk', bench.directory)
    const store = await bench.openStore()
    await store.pull(bench.url())
    expect(await store.list()).toMatchObject([{ path: join(bench.root, 'large-disk', 'tiny-model.gguf') }])
  })
})
