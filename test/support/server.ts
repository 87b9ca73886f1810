import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, linkSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { stringify } from 'yaml'
import { writeTinyModel } from '../../src/engines/gguf/tiny-model.ts'
import { placeDatabase } from './database-template.ts'
import { testEngine } from './engine.ts'

const root = join(import.meta.dirname, '..', '..')

export interface ServerOptions {
  /** Sections of helixflow.yaml over the test's defaults. */
  readonly config?: Readonly<Record<string, object>>
  /** Model files to serve, by name; by default one tiny model called `tiny`. */
  readonly models?: Readonly<Record<string, string>>
  /** The model to load at the start; by default the first of `models`; null for none. */
  readonly model?: string | null
  /** Use this data folder, and leave it standing; by default a new one, in which an empty database lies already. */
  readonly home?: string
  readonly environment?: Readonly<Record<string, string>>
  /** A file that takes its log, of which `log()` and `logged()` then know nothing. */
  readonly logDescriptor?: number
}

/** `helixflow up` as a process of its own. */
export interface Server {
  /** Ends in /v1. */
  readonly url: string
  /** Without /v1. */
  readonly origin: string
  readonly apiKey: string
  /** Where Prometheus would read. */
  readonly metricsUrl: string
  readonly home: string
  readonly process: ChildProcess
  readonly pid: number
  /** What it has written to standard error so far. */
  log(): string
  /** Resolves when a line of the log matches. */
  logged(pattern: RegExp): Promise<RegExpExecArray>
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>
}

/** Starts a server of this very build on a free port, with a real database and a real engine, and waits until it is ready. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const home = options.home ?? mkdtempSync(join(tmpdir(), 'helixflow-test-'))
  // The database of root runs as another user, who must be able to enter.
  chmodSync(home, 0o755)
  if (options.home === undefined && hasOwnDatabase(options)) await placeDatabase(join(home, 'postgres'))
  const models = options.models ?? { tiny: await tinyModel() }
  mkdirSync(join(home, 'models'), { recursive: true })
  for (const [name, path] of Object.entries(models)) place(path, join(home, 'models', `${name}.gguf`))
  const configPath = join(home, 'test.yaml')
  writeFileSync(configPath, stringify(await configOf(options, models)))
  const child = spawn(
    process.execPath,
    [join(root, 'bin', 'helixflow.js'), 'up', '--json', '--config', configPath],
    {
      stdio: ['ignore', 'pipe', options.logDescriptor ?? 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', HELIXFLOW_HOME: home, ...options.environment },
    },
  )
  const log = collectLog(child)
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const ready = await firstLine(child, exited, log)
  return {
    url: ready.url,
    origin: ready.url.replace(/\/v1$/, ''),
    apiKey: ready.apiKey ?? '',
    metricsUrl: ready.metricsUrl ?? '',
    home,
    process: child,
    pid: child.pid ?? -1,
    log: () => log.text,
    logged: (pattern) => log.find(pattern),
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      const code = await exited
      if (options.home === undefined) rmSync(home, { recursive: true, force: true })
      return code
    },
  }
}

/** A model of random weights that an engine loads in a moment. */
export async function tinyModel(seed = 1): Promise<string> {
  const directory = join(root, 'node_modules', '.cache', 'helixflow', 'models')
  mkdirSync(directory, { recursive: true })
  const path = join(directory, `tiny-${seed}.gguf`)
  // Several tests may make it at the same time; each puts a whole file in its place.
  const draft = join(directory, `${randomUUID()}.gguf`)
  await writeTinyModel(draft, { seed, contextLength: 2_048 })
  renameSync(draft, path)
  return path
}

function hasOwnDatabase({ config }: ServerOptions): boolean {
  return config?.['database'] === undefined && !('authUrl' in (config?.['rpc'] ?? {}))
}

async function configOf(options: ServerOptions, models: Readonly<Record<string, string>>): Promise<object> {
  const given = options.config ?? {}
  const engine = await testEngine()
  const first = options.model === undefined ? (Object.keys(models)[0] ?? null) : options.model
  return {
    ...given,
    gateway: { port: 0, ...given['gateway'] },
    models: { default: first, contextLength: 1_024, ...given['models'] },
    engines: { llamaServer: engine.serverPath, threads: 1, ...given['engines'] },
    metrics: { port: 0, ...given['metrics'] },
    log: { format: 'json', ...given['log'] },
  }
}

function place(from: string, to: string): void {
  rmSync(to, { force: true })
  linkSync(from, to)
}

interface Ready {
  readonly url: string
  readonly apiKey?: string
  readonly metricsUrl?: string
}

async function firstLine(
  child: ChildProcess,
  exited: Promise<number | null>,
  log: { text: string },
): Promise<Ready> {
  if (!child.stdout) throw new Error('no output')
  const lines = createInterface({ input: child.stdout })
  const line = new Promise<string>((resolve) => lines.once('line', resolve))
  const ended = exited.then((code): never => {
    throw new Error(`helixflow ended with ${code} before it was ready:\n${log.text}`)
  })
  ended.catch(() => {})
  return JSON.parse(await Promise.race([line, ended])) as Ready
}

function collectLog(child: ChildProcess) {
  const waiting = new Set<() => void>()
  const log = {
    text: '',
    find: (pattern: RegExp) =>
      new Promise<RegExpExecArray>((resolve) => {
        const look = () => {
          const match = pattern.exec(log.text)
          if (!match) return
          waiting.delete(look)
          resolve(match)
        }
        waiting.add(look)
        look()
      }),
  }
  child.stderr?.on('data', (chunk: Buffer) => {
    log.text += chunk.toString('utf8')
    for (const look of [...waiting]) look()
  })
  return log
}
