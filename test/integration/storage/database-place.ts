import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { silentLog } from '../../../src/core/log.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { systemClock } from '../../../src/system.ts'
import { placeDatabase } from '../../support/database-template.ts'

export const isRoot = process.getuid?.() === 0

/** A folder for one test file. What was put into it, and what a database had to move elsewhere, goes with it. */
export class DatabasePlace {
  private readonly moved = new Set<string>()

  private constructor(readonly root: string) {}

  /** @param mode 0o700 keeps out the user that root would run PostgreSQL as */
  static async make(mode = 0o711): Promise<DatabasePlace> {
    const root = await mkdtemp(join(tmpdir(), 'helixflow-db-'))
    await chmod(root, mode)
    return new DatabasePlace(root)
  }

  /** One in which a database lies already, made by the programs of that folder and not started yet. */
  static async withDatabase(binaries?: string): Promise<DatabasePlace> {
    const place = await DatabasePlace.make()
    await placeDatabase(place.directory, binaries)
    return place
  }

  /** The one that another process has made. */
  static at(root: string): DatabasePlace {
    return new DatabasePlace(root)
  }

  get directory(): string {
    return join(this.root, 'postgres')
  }

  get runtimeDirectory(): string {
    return join(this.root, 'run')
  }

  async start(binaries?: string): Promise<EmbeddedPostgres> {
    const { directory, runtimeDirectory } = this
    const postgres = await startEmbeddedPostgres({
      directory,
      runtimeDirectory,
      binaries,
      log: silentLog,
      clock: systemClock,
    })
    this.moved.add(postgres.directory)
    return postgres
  }

  async remove(): Promise<void> {
    for (const directory of this.moved) {
      if (directory.startsWith(this.root)) continue
      await rm(dirname(directory), { recursive: true })
      // Only what is empty now: other databases may live beside it.
      await rmdir(dirname(dirname(directory))).catch(() => undefined)
    }
    await rm(this.root, { recursive: true })
  }
}

/** What `start-database.ts` printed: either it has the database, or why not. */
export interface HolderReport {
  readonly host?: string
  readonly directory?: string
  readonly code?: string
  readonly message?: string
}

/** Another process that runs a script beside this file, `start-database.ts` unless said otherwise. */
export class Holder {
  readonly pid: number
  private readonly lines: NodeJS.AsyncIterator<string>
  private readonly exited: Promise<unknown>

  constructor(
    readonly process: ChildProcess,
    output: NodeJS.ReadableStream,
  ) {
    this.pid = process.pid ?? 0
    this.lines = createInterface({ input: output })[Symbol.asyncIterator]()
    this.exited = once(process, 'exit')
  }

  static run(
    script: string,
    parameters: readonly string[],
    options: { uid?: number; gid?: number; env?: NodeJS.ProcessEnv } = {},
  ): Holder {
    const path = fileURLToPath(new URL(script, import.meta.url))
    const child = spawn(process.execPath, ['--import', 'tsx', path, ...parameters], {
      ...options,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    return new Holder(child, child.stdout)
  }

  static start(
    place: DatabasePlace,
    options: { uid?: number; gid?: number; env?: NodeJS.ProcessEnv } = {},
  ): Holder {
    return Holder.run('start-database.ts', [place.directory, place.runtimeDirectory], options)
  }

  async report(): Promise<HolderReport> {
    const { value } = await this.lines.next()
    return JSON.parse(value)
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    this.process.stdin?.end()
    await this.exited
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.exited
  }
}

/** Processes that are alive and were started with these words in their command line. */
export async function processesWith(words: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    const commandLine = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (commandLine.replaceAll('\0', ' ').includes(words)) found.push(Number(name))
  }
  return found
}

/** The number of the main process of the server on that data directory. */
export async function postmasterPid(directory: string): Promise<number> {
  const [pid] = (await readFile(join(directory, 'postmaster.pid'), 'utf8')).split('\n')
  return Number(pid)
}
