import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { withFileLock } from './file-lock.ts'

let folder: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'helixflow-lock-'))
  path = join(folder, 'model.lock')
})

afterEach(() => rm(folder, { recursive: true, force: true }))

/** A process id that belonged to a process which has ended. */
function deadPid(): number {
  return spawnSync(process.execPath, ['--version']).pid
}

test('of many that want it, one at a time has it, and no lock file is left', async () => {
  let inside = 0
  let most = 0
  const work = async () => {
    inside += 1
    most = Math.max(most, inside)
    await new Promise((resolve) => setImmediate(resolve))
    inside -= 1
  }
  await Promise.all(Array.from({ length: 5 }, () => withFileLock(path, {}, work)))
  expect(most).toBe(1)
  expect(await readdir(folder)).toEqual([])
})

test('is free again after work that failed, whose error comes through', async () => {
  const failing = withFileLock(path, {}, async () => {
    throw new RangeError('out of range')
  })
  await expect(failing).rejects.toThrow('out of range')
  expect(await withFileLock(path, {}, async () => 'done')).toBe('done')
})

test('of a process that died is taken over at once, by one only', async () => {
  await writeFile(path, `${deadPid()} ${hostname()} dead\n`)
  let inside = 0
  const waits: number[] = []
  const work = async () => {
    inside += 1
    expect(inside).toBe(1)
    await new Promise((resolve) => setImmediate(resolve))
    inside -= 1
  }
  const options = { staleAfterMs: 60_000, onWaiting: (pid: number) => waits.push(pid) }
  await Promise.all(Array.from({ length: 4 }, () => withFileLock(path, options, work)))
  expect(waits.every((pid) => pid === process.pid)).toBe(true)
  expect(await readdir(folder)).toEqual([])
})

test('of another machine is taken over when that has been silent for long', async () => {
  await writeFile(path, '1 another-machine silent\n')
  const waits: number[] = []
  const done = await withFileLock(
    path,
    { staleAfterMs: 200, onWaiting: (pid) => waits.push(pid) },
    async () => 'done',
  )
  expect(done).toBe('done')
  expect(waits).toEqual([1])
})

test('of a process that is at work is not taken over, however long that takes', async () => {
  const order: string[] = []
  let first: Promise<void> | undefined
  await new Promise<void>((started) => {
    first = withFileLock(path, { staleAfterMs: 600 }, async (lock) => {
      started()
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      await lock.requireHeld()
      order.push('first')
    })
  })
  await withFileLock(path, { staleAfterMs: 600 }, async () => void order.push('second'))
  await first
  expect(order).toEqual(['first', 'second'])
})

test('is waited for no longer when the waiting one is told to stop', async () => {
  const controller = new AbortController()
  await withFileLock(path, {}, async () => {
    const waiting = withFileLock(
      path,
      { signal: controller.signal, onWaiting: () => controller.abort(new RangeError('no more')) },
      async () => undefined,
    )
    await expect(waiting).rejects.toThrow('no more')
  })
})

test('that was taken over is told to its former holder, who leaves the new one alone', async () => {
  const work = withFileLock(path, {}, async (lock) => {
    await writeFile(path, `1 another-machine thief\n`)
    await lock.requireHeld()
  })
  await expect(work).rejects.toMatchObject({ code: 'download_interrupted' })
  expect(await readdir(folder)).toEqual(['model.lock'])
})
