import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runCommand } from '../../src/storage/run-command.ts'
import { type FoundPrograms, findDebianPrograms } from './debian-programs.ts'
import { freePort } from './free-port.ts'

const PROMETHEUS = {
  name: 'prometheus',
  packages: ['prometheus'],
  place: 'usr/bin',
  wanted: ['prometheus', 'promtool'],
  // What its old pages show in a browser.
  unneeded: /^libjs-/,
}

let programs: Promise<FoundPrograms> | undefined

/** Debian's Prometheus 2, installed or fetched. @throws Error when there is none: nothing here can be tested without it */
export function prometheusPrograms(): Promise<FoundPrograms> {
  programs ??= findDebianPrograms(PROMETHEUS).then((finding) => {
    if ('found' in finding) return finding.found
    throw new Error(finding.missing)
  })
  return programs
}

export interface PromtoolResult {
  readonly succeeded: boolean
  /** Both of what it printed and of what it complained. */
  readonly text: string
}

/** Runs promtool, such as with `check rules FILE`. */
export async function promtool(...words: readonly string[]): Promise<PromtoolResult> {
  const { binaries, environment } = await prometheusPrograms()
  const ran = await runCommand(join(binaries, 'promtool'), [...words], { environment })
  return { succeeded: ran.succeeded, text: `${ran.output}\n${ran.complaint}` }
}

/** One series of an answer: its labels and its value at that moment. */
export interface PromSample {
  readonly metric: Readonly<Record<string, string>>
  /** NaN and infinities as Prometheus writes them become numbers. */
  readonly value: number
}

/** A Prometheus on a free port of the loopback interface, with its data in a folder that goes with it. */
export class PrometheusServer {
  private constructor(
    readonly port: number,
    private readonly directory: string,
    private readonly child: ChildProcess,
  ) {}

  /**
   * @param config its settings file, as text. JSON is YAML too.
   * @param files more of them, by name, that lie beside the settings, such as rules
   * @param options more of them, as `--name=value`; with `--storage.tsdb.path` its data stay there
   */
  static async start(
    config: string,
    files: Readonly<Record<string, string>> = {},
    options: readonly string[] = [],
  ): Promise<PrometheusServer> {
    const { binaries, environment } = await prometheusPrograms()
    const directory = mkdtempSync(join(tmpdir(), 'helixflow-prometheus-'))
    for (const [name, text] of Object.entries({ ...files, 'prometheus.yaml': config }))
      writeFileSync(join(directory, name), text)
    const port = await freePort()
    const parameters = [
      `--config.file=${join(directory, 'prometheus.yaml')}`,
      ...(options.some((option) => option.startsWith('--storage.tsdb.path='))
        ? []
        : [`--storage.tsdb.path=${join(directory, 'data')}`]),
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
      ...options,
    ]
    const child = spawn(join(binaries, 'prometheus'), parameters, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...environment },
    })
    const server = new PrometheusServer(port, directory, child)
    try {
      await server.ready()
    } catch (reason) {
      await server.stop()
      throw reason
    }
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** The answer to an expression that gives a vector or a number. @throws Error with what Prometheus says against it */
  async query(expression: string, atMs?: number): Promise<readonly PromSample[]> {
    const parameters = new URLSearchParams({ query: expression })
    if (atMs !== undefined) parameters.set('time', String(atMs / 1000))
    const data = await this.api(`query?${parameters}`)
    const { resultType, result } = data as VectorAnswer | ScalarAnswer
    if (resultType === 'scalar') return [{ metric: {}, value: numberOf(result[1]) }]
    return result.map(({ metric, value }) => ({ metric, value: numberOf(value[1]) }))
  }

  /** What `/api/v1/PATH` says. @throws Error with what Prometheus says against it */
  async api(path: string): Promise<unknown> {
    const response = await fetch(`${this.url}/api/v1/${path}`)
    const body = (await response.json()) as { status: string; error?: string; data: unknown }
    if (body.status !== 'success') throw new Error(`${path}: ${body.error}`)
    return body.data
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exited = once(this.child, 'exit')
      this.child.kill('SIGKILL')
      await exited
    }
    rmSync(this.directory, { recursive: true, force: true })
  }

  private async ready(): Promise<void> {
    let complaint = ''
    this.child.stderr?.on('data', (chunk) => {
      complaint += chunk
    })
    for (;;) {
      const response = await fetch(`${this.url}/-/ready`).catch(() => undefined)
      if (response?.ok) return
      if (this.child.exitCode !== null) throw new Error(`prometheus ended: ${complaint}`)
      await sleep(20)
    }
  }
}

interface VectorAnswer {
  readonly resultType: 'vector'
  readonly result: readonly {
    readonly metric: Record<string, string>
    readonly value: readonly [number, string]
  }[]
}

interface ScalarAnswer {
  readonly resultType: 'scalar'
  readonly result: readonly [number, string]
}

function numberOf(text: string): number {
  return text === '+Inf'
    ? Number.POSITIVE_INFINITY
    : text === '-Inf'
      ? Number.NEGATIVE_INFINITY
      : Number(text)
}
