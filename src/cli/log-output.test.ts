import { appendFileSync, closeSync, openSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { mountSmallDisk, noSmallDisk } from '../../test/support/small-disk.ts'
import { LogOutput, lostLines } from './log-output.ts'

/** A log on a disk with room for one page alone, and what makes more room. */
function fullDisk(size: string) {
  const disk = mountSmallDisk(size)
  const path = join(disk.path, 'log')
  const descriptor = openSync(path, 'a')
  onTestFinished(() => {
    closeSync(descriptor)
    disk.unmount()
  })
  const ballast = join(disk.path, 'ballast')
  const block = Buffer.alloc(4_096)
  expect(() => {
    for (;;) appendFileSync(ballast, block)
  }).toThrow(/ENOSPC/)
  truncateSync(ballast, statSync(ballast).size - block.length)
  const output = new LogOutput({ descriptor, batchLength: 100, batchMs: 10 })
  return { output, makeRoom: () => rmSync(ballast), text: () => readFileSync(path, 'utf8') }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe.skipIf(noSmallDisk !== undefined)('on a full disk', () => {
  test('nobody is stopped, and lines go out whole and in order when there is room', async () => {
    const { output, makeRoom, text } = fullDisk('1m')
    const lines = Array.from({ length: 2_000 }, (_, at) => `line ${at} ${'x'.repeat(at % 50)}\n`)
    for (const line of lines) {
      output.write(line)
      await turn()
    }
    expect(text().length).toBe(4_096)
    makeRoom()
    await expect.poll(text, { timeout: 5_000 }).toBe(lines.join(''))
  })

  test('what waits is bounded: lines beyond it are lost, and later ones are not', async () => {
    const { output, makeRoom, text } = fullDisk('32m')
    const long = `${'x'.repeat(2 ** 16)}\n`
    const lostBefore = lostLines()
    let said = 0
    const say = (line: string) => {
      said += 1
      output.write(line)
    }
    for (let at = 0; at < 1_000; at++) {
      say(long)
      await turn()
    }
    makeRoom()
    const written = async () => {
      say('later\n')
      return text().endsWith('later\n')
    }
    await expect.poll(written, { timeout: 5_000 }).toBe(true)
    expect(text().length).toBeGreaterThan(2 ** 22)
    expect(text().length).toBeLessThan(2 ** 24 + 2 ** 20)
    const lost = lostLines() - lostBefore
    expect(lost).toBeGreaterThan(100)
    await expect.poll(() => text().split('\n').length - 1, { timeout: 5_000 }).toBe(said - lost)
  })
})
