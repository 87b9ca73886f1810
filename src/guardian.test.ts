import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import { guard } from './guardian.ts'

const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

function run(command: string, ...parameters: string[]): ChildProcess {
  const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  return child
}

/** A process that guards `pid`, says so, and then would live for a minute. */
async function guardingProcess(pid: number | undefined, more = ''): Promise<ChildProcess> {
  const guardian = new URL('./guardian.ts', import.meta.url)
  const script = `
    import { guard } from '${guardian}'
    const guardian = guard(${pid}, 'SIGINT')
    ${more}
    console.log('guarding')`
  const child = run(process.execPath, '--import', 'tsx', '--input-type=module', '--eval', script)
  await once(child.stdout ?? child, 'data')
  return child
}

test('the signal is sent when the guarding process is killed', async () => {
  const guarded = run('sleep', '60')
  const parent = await guardingProcess(guarded.pid, 'setTimeout(() => {}, 60_000)')
  const exit = once(guarded, 'exit')
  parent.kill('SIGKILL')
  expect(await exit).toEqual([null, 'SIGINT'])
})

test('nothing is sent after a release, and a guardian keeps nobody alive', async () => {
  const guarded = run('sleep', '60')
  const parent = await guardingProcess(guarded.pid, 'guardian.release()')
  await once(parent, 'exit')
  expect(guarded.exitCode ?? guarded.signalCode).toBeNull()

  // One that is not released ends with its process, which nothing but the guardian could have kept.
  const exit = once(guarded, 'exit')
  const other = await guardingProcess(guarded.pid)
  await Promise.all([once(other, 'exit'), exit])
  expect(guarded.signalCode).toBe('SIGINT')
})

test('a released guardian is gone', async () => {
  const guarded = run('sleep', '60')
  const guardian = guard(guarded.pid ?? 0, 'SIGTERM')
  guardian.release()
  guardian.release()
  guarded.kill('SIGINT')
  expect(await once(guarded, 'exit')).toEqual([null, 'SIGINT'])
})
