import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ManualClock } from '../../../src/core/clock.ts'
import { PageCache } from '../../../src/node/devices/page-cache.ts'

/** On a disk: what lies in a file system of memory cannot leave it. */
const DISK = join(import.meta.dirname, '../../../node_modules/.cache/helixflow')

function file(sizeBytes: number): string {
  mkdirSync(DISK, { recursive: true })
  const directory = mkdtempSync(join(DISK, 'page-cache-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'file')
  writeFileSync(path, Buffer.alloc(sizeBytes, 1), { flush: true })
  return path
}

/** Without its pages in memory. */
function drop(path: string): void {
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' })
}

test('a file lies in memory once it was read, and no longer when the system took it out', async () => {
  const clock = new ManualClock()
  const cache = new PageCache(clock)
  const path = file(24 * 2 ** 20 + 5)
  drop(path)
  expect(await cache.holds(path)).toBe(false)
  readFileSync(path)
  // Asked within seconds, the answer is the one of before, unless somebody knows better.
  expect(await cache.holds(path)).toBe(false)
  cache.forget(path)
  expect(await cache.holds(path)).toBe(true)
  drop(path)
  clock.advance(5_000)
  expect(await cache.holds(path)).toBe(false)
})

test('a file that is empty or not there lies nowhere', async () => {
  const cache = new PageCache(new ManualClock())
  expect(await cache.holds(file(0))).toBe(false)
  expect(await cache.holds('/nowhere')).toBe(false)
})
