import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** A process under test that has said on its first line how to reach it. */
export interface Started<T> {
  readonly pid: number
  readonly ready: T
  /** SIGTERM; resolves when it has ended. */
  stop(): Promise<void>
}

export interface StartOptions {
  readonly command: string
  readonly args: readonly string[]
  /** The processor that it may use; undefined: all. */
  readonly core?: number
  readonly environment?: Readonly<Record<string, string>>
  readonly stderr?: SpawnOptions['stdio'] & (number | 'inherit' | 'ignore')
}

/** Starts a process and reads the JSON object on its first line. */
export async function startProcess<T>(options: StartOptions): Promise<Started<T>> {
  const running = launch(options, 'pipe')
  if (!running.child.stdout) throw new Error('no output')
  const lines = createInterface({ input: running.child.stdout })
  const line = new Promise<string>((resolve) => lines.once('line', resolve))
  const ready = await Promise.race([line, running.endedEarly])
  return { ...running, ready: JSON.parse(ready) as T }
}

/** Starts a process and asks `isReady` until it is. */
export async function startAndPoll(
  options: StartOptions,
  isReady: () => Promise<boolean>,
): Promise<Omit<Started<unknown>, 'ready'>> {
  const running = launch(options, 'ignore')
  while (!(await Promise.race([isReady(), running.endedEarly]))) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return running
}

function launch({ command, args, core, environment, stderr }: StartOptions, stdout: 'pipe' | 'ignore') {
  const [file, ...rest] =
    core === undefined ? [command, ...args] : ['taskset', '-c', String(core), command, ...args]
  const child = spawn(file ?? '', rest, {
    stdio: ['ignore', stdout, stderr ?? 'inherit'],
    env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production', ...environment },
  })
  running.add(child)
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', resolve)
  }).finally(() => running.delete(child))
  const endedEarly = exited.then((code): never => {
    throw new Error(`${command} ended with ${code}`)
  })
  endedEarly.catch(() => {})
  const stop = async () => {
    if (running.has(child)) child.kill('SIGTERM')
    await exited
  }
  return { child, pid: child.pid ?? -1, endedEarly, stop }
}

const running = new Set<ChildProcess>()

/** For a benchmark that ends early: leaves nothing running. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL')
}
