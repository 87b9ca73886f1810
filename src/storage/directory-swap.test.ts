import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { finishSwap, swapDirectory } from './directory-swap.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'helixflow-swap-'))
  for (const name of ['old', 'new']) {
    await mkdir(join(root, name))
    await writeFile(join(root, name, 'which'), name)
  }
})
afterEach(() => rm(root, { recursive: true }))

const at = (name: string) => join(root, name)
const which = (name: string) => readFile(join(root, name, 'which'), 'utf8')

test('the new one takes the place and the old one stays beside it', async () => {
  expect(await swapDirectory(at('new'), at('old'), at('aside'))).toBe(at('aside'))
  expect([await which('old'), await which('aside')]).toEqual(['new', 'old'])
  expect((await readdir(root)).sort()).toEqual(['aside', 'old'])
})

test('an empty place is simply taken', async () => {
  expect(await swapDirectory(at('new'), at('place'), at('aside'))).toBeUndefined()
  expect(await which('place')).toBe('new')
})

test('a crash between the two steps is made good by the next start', async () => {
  await writeFile(at('old.swap'), `${at('new')}\n`)
  await rename(at('old'), at('aside'))
  await finishSwap(at('old'))
  expect([await which('old'), await which('aside')]).toEqual(['new', 'old'])
  expect((await readdir(root)).sort()).toEqual(['aside', 'old'])
})

test('after a crash before the first step everything stays as it was', async () => {
  await writeFile(at('old.swap'), `${at('new')}\n`)
  await finishSwap(at('old'))
  expect([await which('old'), await which('new')]).toEqual(['old', 'new'])
  expect((await readdir(root)).sort()).toEqual(['new', 'old'])
})
