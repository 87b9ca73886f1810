import { readFile } from 'node:fs/promises'
import { runCommand } from './run-command.ts'

/** Whether a process of that number runs here, whoever owns it. One that has ended and waits to be reaped does not. */
export async function isRunning(pid: number): Promise<boolean> {
  return (await commandName(pid)) !== undefined
}

/**
 * The name of the program that runs under that number. Numbers are used again, so whoever means to signal a process
 * that it did not start asks first what it is.
 */
export async function commandName(pid: number): Promise<string | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined
  if (process.platform === 'linux') {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    const [, name, state] = /^\d+ \((.*)\) (\S)/s.exec(status) ?? []
    return state === 'Z' || state === 'X' ? undefined : name
  }
  const { output } = await runCommand('ps', ['-p', String(pid), '-o', 'stat=,ucomm='])
  const [, state, name] = /^(\S+)\s+(.+)$/.exec(output) ?? []
  return state?.startsWith('Z') ? undefined : name
}
