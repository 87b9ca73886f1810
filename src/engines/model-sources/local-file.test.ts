import { randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fetchRequest, sha256Of, sourceSettings } from '../../../test/support/model-sources.ts'
import { mountSmallDisk, noSmallDisk } from '../../../test/support/small-disk.ts'
import type { Progress } from '../../core/progress.ts'
import { localFile } from './local-file.ts'
import type { FetchRequest } from './source.ts'

const content = randomBytes(3_000_000)
const sha256 = sha256Of(content)

let folder: string
let target: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'helixflow-local-'))
  target = join(folder, 'target')
  path = join(folder, 'Mine.gguf')
  await mkdir(target)
  await writeFile(path, content)
})

afterEach(() => rm(folder, { recursive: true, force: true }))

function fetch(reference: string, changes: Partial<FetchRequest> & { steps?: Progress[] } = {}) {
  return localFile(reference)?.fetch(fetchRequest(join(target, 'mine.gguf'), sourceSettings({}), changes))
}

test('a file is copied, whether its path or its address is named, and stays where it is', async () => {
  for (const reference of [path, `file:${path}`, pathToFileURL(path).href]) {
    const steps: Progress[] = []
    expect(await fetch(reference, { steps })).toEqual({ sha256, sizeBytes: content.length })
    expect((await readFile(join(target, 'mine.gguf'))).equals(content)).toBe(true)
    expect((await stat(join(target, 'mine.gguf'))).ino).not.toBe((await stat(path)).ino)
    expect((await stat(path)).nlink).toBe(1)
    expect(steps.at(-1)).toMatchObject({ step: 'copying', done: content.length, total: content.length })
  }
})

test('a relative path is one from the current folder', () => {
  for (const reference of ['./models/a.gguf', 'models/a.gguf', 'file:models/a.gguf']) {
    expect(localFile(reference)?.source).toBe(`file:${join(process.cwd(), 'models/a.gguf')}`)
  }
  expect(localFile('a.gguf')?.fileName).toBe('a.gguf')
})

test.each(['hf:a/b/c.gguf', 'https://example.com/a.gguf', 'smollm2', 'ftp://example.com/a.gguf'])(
  '%s is no path',
  (text) => expect(localFile(text)).toBeUndefined(),
)

test('a file on another machine is refused', () => {
  expect(() => localFile('file://server/share/a.gguf')).toThrow(/is no file on this machine/)
})

describe('nothing is left', () => {
  afterEach(async () => {
    expect(await readdir(target)).toEqual([])
  })

  test('of a file with another checksum or size than expected', async () => {
    await expect(fetch(path, { sha256: 'd'.repeat(64) })).rejects.toMatchObject({ code: 'checksum_mismatch' })
    await expect(fetch(path, { sizeBytes: 7 })).rejects.toMatchObject({ code: 'checksum_mismatch' })
  })

  test('of a copy that is stopped', async () => {
    const controller = new AbortController()
    const onProgress = () => controller.abort(new RangeError('no more'))
    await expect(fetch(path, { signal: controller.signal, onProgress })).rejects.toThrow('no more')
  })

  test('of what is no file, or cannot be read', async () => {
    await expect(fetch(join(folder, 'missing.gguf'))).rejects.toMatchObject({
      code: 'invalid_arguments',
      publicMessage: expect.stringContaining('missing.gguf cannot be read'),
    })
    await expect(fetch(`${folder}/`)).rejects.toMatchObject({ code: 'invalid_arguments' })
  })

  test.skipIf(process.getuid?.() === 0)('of a file without permission (root may read all)', async () => {
    await chmod(path, 0)
    await expect(fetch(path)).rejects.toMatchObject({ code: 'invalid_arguments' })
  })
})

test('the SHA-256 of a file is told without copying it', async () => {
  expect(await localFile(path)?.identify?.(fetchRequest('', sourceSettings({})))).toBe(sha256)
})

describe.skipIf(noSmallDisk)(`a small disk${noSmallDisk ? ` (skipped: ${noSmallDisk})` : ''}`, () => {
  test('gets no byte of a file that is too large for it', async () => {
    const disk = mountSmallDisk('1m')
    try {
      const request = fetchRequest(join(disk.path, 'mine.gguf'), sourceSettings({}))
      await expect(localFile(path)?.fetch(request)).rejects.toMatchObject({
        code: 'disk_full',
        message: expect.stringMatching(/3\.0 MB are needed, 1\.0 MB are free/),
      })
      expect(await readdir(disk.path)).toEqual([])
    } finally {
      disk.unmount()
    }
  })
})
