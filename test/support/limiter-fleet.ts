import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { LimiterReport, LimiterTask } from './limiter-process.ts'

const root = join(import.meta.dirname, '..', '..')

/** Processes that ask for one limit at the same time, through one Redis. */
export class LimiterFleet {
  private constructor(
    private readonly children: readonly ChildProcess[],
    private readonly lines: readonly (() => Promise<string>)[],
  ) {}

  static async start(processes: number, task: LimiterTask): Promise<LimiterFleet> {
    const children = Array.from({ length: processes }, () =>
      spawn(
        join(root, 'node_modules', '.bin', 'tsx'),
        [join(import.meta.dirname, 'limiter-process.ts'), JSON.stringify(task)],
        { stdio: ['pipe', 'pipe', 'inherit'], cwd: root },
      ),
    )
    const fleet = new LimiterFleet(children, children.map(lineReader))
    await fleet.next()
    return fleet
  }

  go(): void {
    for (const child of this.children) child.stdin?.write('go\n')
  }

  async reports(): Promise<LimiterReport[]> {
    return (await this.next()).map((line) => JSON.parse(line) as LimiterReport)
  }

  stop(): void {
    for (const child of this.children) child.kill('SIGKILL')
  }

  private next(): Promise<string[]> {
    return Promise.all(this.lines.map((read) => read()))
  }
}

function lineReader(child: ChildProcess): () => Promise<string> {
  if (!child.stdout) throw new Error('no output')
  const iterator = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return async () => {
    const { value, done } = await iterator.next()
    if (done) throw new Error('a limiter ended early')
    return value
  }
}

/** What all got, for how long any of them asked, and for how long all of them did. */
export function total(reports: readonly LimiterReport[]) {
  const started = reports.map(({ startedAtMs }) => startedAtMs)
  const ended = reports.map(({ endedAtMs }) => endedAtMs)
  const seconds = (Math.max(...ended) - Math.min(...started)) / 1_000
  const togetherSeconds = (Math.min(...ended) - Math.max(...started)) / 1_000
  return {
    togetherSeconds,
    granted: reports.reduce((sum, { granted }) => sum + granted, 0),
    asked: reports.reduce((sum, { granted, refused }) => sum + granted + refused, 0),
    failures: reports.flatMap(({ failures }) => failures),
    outages: reports.reduce((sum, { outages }) => sum + outages, 0),
    seconds,
  }
}
