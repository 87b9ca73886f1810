import { spawn } from 'node:child_process'
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
  /** A file descriptor, or nowhere; undefined: ours. */
  readonly stderr?: number | 'ignore'
  /** Called when it has ended, however that came about. */
  readonly cleanUp?: () => void
}

/** Starts a process and reads the JSON object on its first line. */
export async function startProcess<T>(options: StartOptions): Promise<Started<T>> {
  const { child, pid, endedEarly, stop } = launch(options, 'pipe')
  if (!child.stdout) throw new Error('no output')
  const lines = createInterface({ input: child.stdout })
  const line = new Promise<string>((resolve) => lines.once('line', resolve))
  const ready = await Promise.race([line, endedEarly])
  return { pid, stop, ready: JSON.parse(ready) as T }
}

/** Starts a process and asks `isReady` until it is. */
export async function startAndPoll(
  options: StartOptions,
  isReady: () => Promise<boolean>,
): Promise<Omit<Started<unknown>, 'ready'>> {
  const { pid, endedEarly, stop } = launch(options, 'ignore')
  while (!(await Promise.race([isReady(), endedEarly]))) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return { pid, stop }
}

/** Stops what still runs, for a benchmark that ends early. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((stop) => stop()))
}

const running = new Set<() => Promise<void>>()

function launch(options: StartOptions, stdout: 'pipe' | 'ignore') {
  const { command, core, environment, stderr, cleanUp } = options
  const pin = core === undefined ? [] : ['taskset', '-c', String(core)]
  const [file = '', ...args] = [...pin, command, ...options.args]
  const child = spawn(file, args, {
    stdio: ['ignore', stdout, stderr ?? 'inherit'],
    env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production', ...environment },
  })
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', resolve)
  }).finally(() => {
    running.delete(stop)
    cleanUp?.()
  })
  const endedEarly = exited.then((code): never => {
    throw new Error(`${command} ended with ${code}`)
  })
  endedEarly.catch(() => {})
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await exited
  }
  running.add(stop)
  return { child, pid: child.pid ?? -1, endedEarly, stop }
}
