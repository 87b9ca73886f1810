import { spawn } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import { memoryOf } from './process-memory.ts'
import { descendsFrom, treeOf } from './process-tree.ts'

/** A shell that has started another process. */
async function family(): Promise<{ readonly shell: number; readonly inner: number }> {
  const child = spawn('/bin/sh', ['-c', 'sleep 600 & echo $!; wait'], { detached: true })
  const shell = child.pid ?? 0
  onTestFinished(() => void process.kill(-shell, 'SIGKILL'))
  const inner = await new Promise<number>((resolve) =>
    child.stdout.once('data', (text) => resolve(Number(text))),
  )
  return { shell, inner }
}

test('a process is known with what it started, and as ours', async () => {
  const { shell, inner } = await family()
  expect(treeOf(shell)).toEqual([shell, inner])
  expect(treeOf(process.pid)).toEqual(expect.arrayContaining([process.pid, shell, inner]))
  expect([inner, shell, process.pid].map((pid) => descendsFrom(pid, process.pid))).toEqual([true, true, true])
  expect([1, 0, process.ppid].map((pid) => descendsFrom(pid, process.pid))).toEqual([false, false, false])
  expect(descendsFrom(shell, inner)).toBe(false)
})

test('the memory of a process is what it has touched; one that is gone has none', () => {
  const before = memoryOf(process.pid)?.ownBytes ?? 0
  const held = Buffer.alloc(64 * 2 ** 20, 1)
  expect((memoryOf(process.pid)?.ownBytes ?? 0) - before).toBeGreaterThan(0.9 * held.length)
  expect(memoryOf(2 ** 22 + 1)).toBeUndefined()
})
