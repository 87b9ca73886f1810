import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type Guardian, guard } from '../../src/guardian.ts'
import { makeDirectoryOnce } from '../../src/storage/directory-once.ts'
import { holdsDatabase } from '../../src/storage/postgres-place.ts'
import { readPostmasterFile } from '../../src/storage/postmaster-file.ts'
import { identity, runCommand } from '../../src/storage/run-command.ts'
import { CACHE, copyTree } from './database-template.ts'
import { freePort } from './free-port.ts'
import type { Postgresql15 } from './postgresql-15.ts'
import { childrenOf } from './processes.ts'

const SUPERUSER = 'administrator'
const PASSWORD = 'only-for-this-test'

/** As whom HelixFlow connects: the owner of its own database, and no superuser. */
const OWNER = 'helixflow_owner'
const DATABASE = 'helixflow'

/** A PostgreSQL that HelixFlow did not start, on a port of its own: a primary, or a streaming replica of one. */
export class PostgresServer {
  private child: ChildProcess | undefined
  private guardian: Guardian | undefined
  private readonly replicas: PostgresServer[] = []

  private constructor(
    private readonly programs: Postgresql15,
    private readonly root: string,
    readonly directory: string,
    readonly port: number,
  ) {}

  static async start(programs: Postgresql15): Promise<PostgresServer> {
    const template = join(CACHE, `postgresql-15-database-${await keyOf(programs)}`)
    if (!(await holdsDatabase(template))) await PostgresServer.makeTemplate(template, programs)
    const server = await PostgresServer.prepare(programs)
    await copyTree(template, server.directory)
    await server.launch()
    return server
  }

  private static async prepare(programs: Postgresql15): Promise<PostgresServer> {
    const root = await mkdtemp(join(tmpdir(), 'helixflow-pg15-'))
    await chmod(root, 0o711)
    return new PostgresServer(programs, root, join(root, 'primary'), await freePort())
  }

  /** Initdb takes longer than most tests, so it runs once; then the database is copied. */
  private static async makeTemplate(template: string, programs: Postgresql15): Promise<void> {
    const server = await PostgresServer.prepare(programs)
    await server.makeDirectory()
    const passwordFile = join(server.root, 'password')
    await writeFile(passwordFile, PASSWORD, { mode: 0o644 })
    await server.run('initdb', [
      ...[`--pgdata=${server.directory}`, `--username=${SUPERUSER}`, `--pwfile=${passwordFile}`],
      ...['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync'],
    ])
    await server.launch()
    await server.administer(`create role ${OWNER} login password '${PASSWORD}' in role pg_monitor`)
    await server.administer(`create database ${DATABASE} owner ${OWNER}`)
    await server.end('SIGINT')
    await mkdir(CACHE, { recursive: true, mode: 0o755 })
    await makeDirectoryOnce(template, (content) => copyTree(server.directory, content))
    await server.stop()
  }

  get url(): string {
    return `postgres://${OWNER}:${PASSWORD}@127.0.0.1:${this.port}/${DATABASE}`
  }

  get superuserUrl(): string {
    return `postgres://${SUPERUSER}:${PASSWORD}@127.0.0.1:${this.port}/${DATABASE}`
  }

  /** Another server that follows this one; stopped with it. */
  async addReplica(): Promise<PostgresServer> {
    const directory = join(this.root, `replica-${this.replicas.length + 1}`)
    const replica = new PostgresServer(this.programs, this.root, directory, await freePort())
    await replica.makeDirectory()
    await this.run('pg_basebackup', [
      ...[`--pgdata=${directory}`, '--wal-method=stream', '--write-recovery-conf', '--checkpoint=fast'],
      ...['--no-sync', `--dbname=${this.superuserUrl.replace(DATABASE, 'postgres')}`],
    ])
    this.replicas.push(replica)
    await replica.launch()
    return replica
  }

  /** Runs a statement as the superuser. */
  async administer(sql: string): Promise<void> {
    const database = /^create (role|database)/.test(sql) ? 'postgres' : DATABASE
    const client = new pg.Client({ connectionString: this.superuserUrl.replace(/\w+$/, database) })
    client.on('error', () => {})
    await client.connect()
    try {
      await client.query(sql)
    } finally {
      await client.end()
    }
  }

  /** Resolves when it accepts connections; tried again while what was killed still holds its memory. */
  async launch(): Promise<void> {
    const deadlineMs = performance.now() + 60_000
    while (performance.now() < deadlineMs) {
      const running = await readPostmasterFile(this.directory)
      if (running?.status === 'ready' && running.pid === this.child?.pid) return
      if (!this.isRunning()) this.spawn()
      await sleep(20)
    }
    throw new Error(`PostgreSQL in ${this.directory} is not ready after a minute`)
  }

  /** Every process of it stands still, in the middle of what it does. */
  freeze(): void {
    this.signalAll('SIGSTOP')
  }

  thaw(): void {
    this.signalAll('SIGCONT')
  }

  /** As a crash of the main process: nothing is written down. */
  async kill(): Promise<void> {
    await this.end('SIGKILL')
  }

  async stop(): Promise<void> {
    for (const replica of this.replicas) await replica.end('SIGINT')
    await this.end('SIGINT')
    await rm(this.root, { recursive: true, force: true, maxRetries: 10 })
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    this.guardian?.release()
    const { child } = this
    if (!child || !this.isRunning()) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  private signalAll(signal: NodeJS.Signals): void {
    const pid = this.child?.pid
    if (pid === undefined) return
    // The main process first, so that it starts no others in between.
    process.kill(pid, signal)
    for (const one of childrenOf(pid)) process.kill(one, signal)
  }

  private isRunning(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null
  }

  private spawn(): void {
    const settings = {
      listen_addresses: '127.0.0.1',
      port: this.port,
      unix_socket_directories: '',
      max_connections: 250,
      shared_buffers: '32MB',
      // Only a crash of the machine would tell the difference.
      fsync: 'off',
      jit: 'off',
      timezone: 'UTC',
      log_destination: 'stderr',
    }
    const parameters = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    this.child = spawn(join(this.programs.binaries, 'postgres'), ['-D', this.directory, ...parameters], {
      ...identity(this.programs.user),
      cwd: '/',
      detached: true,
      env: this.programs.environment,
      stdio: 'ignore',
    })
    this.guardian?.release()
    this.guardian = this.child.pid === undefined ? undefined : guard(this.child.pid, 'SIGINT')
  }

  private async makeDirectory(): Promise<void> {
    await mkdir(this.directory, { mode: 0o700 })
    const { user } = this.programs
    if (user) await chown(this.directory, user.uid, user.gid)
  }

  private async run(program: string, parameters: readonly string[]): Promise<void> {
    const { binaries, user, environment } = this.programs
    const { succeeded, complaint } = await runCommand(join(binaries, program), parameters, {
      user,
      environment,
    })
    if (!succeeded) throw new Error(`${program}: ${complaint}`)
  }
}

/** The programs, as whom they run, and how this file makes a database. */
async function keyOf({ binaries, user }: Postgresql15): Promise<string> {
  const parts = JSON.stringify([binaries, user, await readFile(import.meta.filename, 'utf8')])
  return createHash('sha256').update(parts).digest('hex').slice(0, 16)
}
