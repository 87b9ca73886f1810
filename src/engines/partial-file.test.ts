import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { sha256Of } from '../../test/support/model-sources.ts'
import { noProgress } from '../core/progress.ts'
import { PartialFile } from './partial-file.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'helixflow-partial-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

function open() {
  return PartialFile.open(join(folder, 'a.partial'), { onProgress: noProgress, signal: undefined })
}

test('what an earlier run left counts for the hash and comes first', async () => {
  const [first, second] = [randomBytes(1_500_000), randomBytes(10)]
  await writeFile(join(folder, 'a.partial'), first)
  const file = await open()
  await file.append(second)
  const content = Buffer.concat([first, second])
  expect(await file.land(join(folder, 'a'))).toEqual({ sha256: sha256Of(content), sizeBytes: content.length })
  expect((await readFile(join(folder, 'a'))).equals(content)).toBe(true)
  expect(await readdir(folder)).toEqual(['a'])
})

test('after a restart nothing of before is left in it or in its hash', async () => {
  const file = await open()
  await file.append(randomBytes(100))
  await file.restart()
  await file.append(Buffer.from('new'))
  expect(await file.land(join(folder, 'a'))).toEqual({ sha256: sha256Of(Buffer.from('new')), sizeBytes: 3 })
})

test('two that write to one file do not get it a name, as neither hash is right', async () => {
  const [one, two] = [await open(), await open()]
  await one.append(Buffer.from('one'))
  await two.append(Buffer.from('two'))
  for (const file of [one, two]) {
    await expect(file.land(join(folder, 'a'))).rejects.toMatchObject({ code: 'download_interrupted' })
    await file.close()
  }
  expect(await readdir(folder)).toEqual(['a.partial'])
})

test('a symbolic link in its place is not followed', async () => {
  await writeFile(join(folder, 'victim'), 'precious')
  await symlink('victim', join(folder, 'a.partial'))
  await expect(open()).rejects.toMatchObject({ code: 'ELOOP' })
  expect(await readFile(join(folder, 'victim'), 'utf8')).toBe('precious')
})
