import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeDirectoryOnce } from './directory-once.ts'

let parent: string
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'helixflow-once-'))
})
afterEach(() => rm(parent, { recursive: true }))

async function fill(content: string, text: string): Promise<void> {
  await mkdir(content)
  await writeFile(join(content, 'text'), text)
}

test('of many that make it at once one wins whole, and the others leave nothing', async () => {
  const path = join(parent, 'made')
  await Promise.all(
    ['a', 'b', 'c', 'd'].map((text) =>
      makeDirectoryOnce(path, async (content) => {
        await fill(content, text)
        await writeFile(join(content, 'same text'), text)
      }),
    ),
  )
  expect(await readdir(parent)).toEqual(['made'])
  expect(await readFile(join(path, 'text'), 'utf8')).toBe(await readFile(join(path, 'same text'), 'utf8'))
})

test('a failure in the middle leaves nothing', async () => {
  const failing = makeDirectoryOnce(join(parent, 'made'), async (content) => {
    await fill(content, 'half')
    throw new RangeError('in the middle')
  })
  await expect(failing).rejects.toThrow('in the middle')
  expect(await readdir(parent)).toEqual([])
})

test('what a killed process left is removed, what a living one works on is not', async () => {
  const { pid: dead } = spawnSync('true')
  await mkdir(join(parent, `made.new-${dead}-00000000`))
  await mkdir(join(parent, `made.new-${process.pid}-00000000`))
  await makeDirectoryOnce(join(parent, 'made'), (content) => fill(content, 'whole'))
  expect((await readdir(parent)).sort()).toEqual(['made', `made.new-${process.pid}-00000000`])
})
