import { basename } from 'node:path'
import { expect, test } from 'vitest'
import { readOwnPatches } from './llama-patches.ts'

test('every patch says what it is for, and under which licence it may be passed on', async () => {
  const patches = await readOwnPatches()
  expect(patches.length).toBeGreaterThan(0)
  for (const { path, text } of patches) {
    const head = text.slice(0, text.indexOf('diff --git'))
    expect(head.length, path).toBeGreaterThan(200)
    expect(head).toContain('Licence: MIT')
  }
})

test('patches come in the order of their numbers', async () => {
  const names = (await readOwnPatches()).map(({ path }) => basename(path))
  expect(names).toEqual([...names].sort())
  for (const name of names) expect(name).toMatch(/^\d{4}-[a-z0-9-]+\.patch$/)
})
