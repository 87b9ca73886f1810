import { type ChildProcess, spawn } from 'node:child_process'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { machineMemory } from '../config/machine-memory.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { type Guardian, guard } from '../guardian.ts'
import { freeSpace } from './free-space.ts'
import { memoryArguments, memorySettings, SHARED_MACHINE_SHARE } from './memory-settings.ts'
import type { PostgresBinaries } from './postgres-binaries.ts'
import { postgresFailure } from './postgres-failure.ts'
import { POSTGRES_ENVIRONMENT } from './postgres-initialise.ts'
import { hasLibrary } from './postgres-libraries.ts'
import type { PostgresPlace } from './postgres-place.ts'
import { isPostgres, readPostmasterFile, removeStaleFile } from './postmaster-file.ts'
import { identity } from './run-command.ts'

export interface PostmasterRequest {
  readonly place: PostgresPlace
  readonly binaries: PostgresBinaries
  /** Over the ones that every server gets. */
  readonly settings?: Readonly<Record<string, string>> | undefined
  readonly log: Logger
  readonly clock: Clock
  /** Gives up and leaves nothing running that was not running before. */
  readonly signal: AbortSignal
}

/** Crash recovery replays what was written since the last checkpoint, which takes minutes after much writing. */
const START_TIMEOUT_MS = 300_000

/** A server killed a moment ago may still hold its memory; a wrong setting fails every time. */
const START_ATTEMPTS = 6

/** How to end a server: politely, then without a checkpoint, then by force. The patience is for each step. */
const SHUTDOWN = [
  { signal: 'SIGINT', patienceMs: 20_000 },
  { signal: 'SIGQUIT', patienceMs: 8_000 },
  { signal: 'SIGKILL', patienceMs: 5_000 },
] as const

/**
 * A server that accepts connections on that data directory. One that runs already is adopted (its parent was
 * killed, or another HelixFlow has just started it), one that is stopping is waited for; else one is started.
 * @throws HelixError `database_unavailable`, `disk_full`; the signal's reason
 */
export async function runPostmaster(request: PostmasterRequest): Promise<Postmaster> {
  const { place, clock, signal, log } = request
  const deadlineMs = clock.monotonic() + START_TIMEOUT_MS
  let attempts = 0
  let child: StartedPostmaster | undefined
  for (;;) {
    if (signal.aborted || clock.monotonic() > deadlineMs) {
      await child?.stop()
      signal.throwIfAborted()
      throw await startFailure(`PostgreSQL is not ready after ${START_TIMEOUT_MS / 1000} s`, place)
    }
    const running = await readPostmasterFile(place.directory)
    if (running?.status === 'ready') {
      if (child?.pid === running.pid) return child
      log.info('found a running database server', { pid: running.pid })
      return new Postmaster(running.pid, running.socketDirectory, request)
    }
    if (!running && !child?.isRunning()) {
      if (attempts === START_ATTEMPTS) throw await startFailure('PostgreSQL does not start', place)
      if (attempts > 0) await sleep(25 * 2 ** attempts)
      attempts += 1
      child = await startServer(request)
    }
    // Not the clock's timer: that one keeps no process alive, and nothing else may be doing so yet.
    await sleep(20)
  }
}

/** A running server; ours to stop, whoever started it. */
export class Postmaster {
  private guardian: Guardian | undefined

  constructor(
    readonly pid: number,
    readonly socketDirectory: string,
    private readonly request: PostmasterRequest,
  ) {}

  /** From now on the server ends with this process. */
  guard(): void {
    this.guardian ??= guard(this.pid, 'SIGINT')
  }

  /** Leaves the server to itself: it belongs to another process, or it is gone. */
  abandon(): void {
    this.guardian?.release()
    this.guardian = undefined
  }

  /** Resolves when the server is gone. */
  async stop(): Promise<void> {
    this.abandon()
    const { clock, log } = this.request
    for (const { signal, patienceMs } of SHUTDOWN) {
      const deadlineMs = clock.monotonic() + patienceMs
      if (await isPostgres(this.pid)) send(signal, this.pid)
      while (clock.monotonic() < deadlineMs) {
        if (!(await isPostgres(this.pid))) return
        await sleep(20)
      }
      log.warn('database server does not stop', { pid: this.pid, signal, waitedMs: patienceMs })
    }
    throw new HelixError('database_unavailable', `PostgreSQL (process ${this.pid}) cannot be stopped.`)
  }
}

/** A server that this process has started. */
export class StartedPostmaster extends Postmaster {
  constructor(
    pid: number,
    private readonly child: ChildProcess,
    request: PostmasterRequest,
  ) {
    super(pid, request.place.socketDirectory, request)
    this.guard()
    child.once('exit', () => this.abandon())
  }

  isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }
}

function send(signal: NodeJS.Signals, pid: number): void {
  try {
    process.kill(pid, signal)
  } catch (reason) {
    // It may have ended since it was looked at.
    if (!(reason instanceof Error && 'code' in reason && reason.code === 'ESRCH'))
      throw HelixError.from(reason)
  }
}

async function startServer(request: PostmasterRequest): Promise<StartedPostmaster> {
  const { place, binaries, log } = request
  await removeStaleFile(place.directory)
  const options = settings(request, await preloaded(binaries))
  const output = await open(startLogPath(place), 'w', 0o600)
  try {
    // A backup runs as the database's user and reads every file.
    if (place.user) await output.chown(place.user.uid, place.user.gid)
    const child = spawn(join(binaries.directory, 'postgres'), ['-D', place.directory, ...options], {
      ...identity(place.user),
      cwd: '/',
      // Out of the terminal's reach: a Ctrl-C must end the requests in flight before it ends their database.
      detached: true,
      env: { ...POSTGRES_ENVIRONMENT },
      stdio: ['ignore', output.fd, output.fd],
    })
    const failed = new Promise<Error>((resolve) => child.once('error', resolve))
    if (child.pid === undefined) {
      const cause = await failed
      throw new HelixError('database_unavailable', `PostgreSQL cannot be started: ${cause.message}`, {
        cause,
      })
    }
    child.unref()
    log.debug('database server started', { pid: child.pid, directory: place.directory })
    return new StartedPostmaster(child.pid, child, request)
  } finally {
    await output.close()
  }
}

/** The full pools of several processes, and room for an operator. */
const CONNECTIONS_MAX = 250

/** Connections that may be at work at the same time. */
const CONNECTIONS_AT_WORK = 200

/** What the server counts its statements with, where it has it. */
async function preloaded({ directory }: PostgresBinaries): Promise<string> {
  return (await hasLibrary(directory, 'pg_stat_statements')) ? 'pg_stat_statements' : ''
}

/** Given on the command line, so that they hold for a data directory of any age and whatever is in its files. */
function settings({ place, settings: given }: PostmasterRequest, libraries: string): string[] {
  const values: Record<string, string> = {
    listen_addresses: '',
    port: '5432',
    unix_socket_directories: `"${place.socketDirectory.replaceAll('"', '""')}"`,
    unix_socket_permissions: '0700',
    max_connections: String(CONNECTIONS_MAX),
    shared_preload_libraries: libraries,
    ...memoryArguments(memorySettings(machineMemory() * SHARED_MACHINE_SHARE, CONNECTIONS_AT_WORK)),
    fsync: 'on',
    timezone: 'UTC',
    // One file for each day of the week, begun anew when its day comes again. What a statement did wrong is told to
    // whoever sent it; here goes what happens to the server, so that a day stays small.
    logging_collector: 'on',
    log_directory: 'log',
    log_filename: 'postgres-%a.log',
    log_rotation_age: '1d',
    log_rotation_size: '0',
    log_truncate_on_rotation: 'on',
    log_min_messages: 'log',
    log_lock_waits: 'on',
    log_timezone: 'UTC',
    // A client that was killed holds its locks only until the server looks. Not every system can look.
    client_connection_check_interval: process.platform === 'linux' ? '1s' : '0',
    ...given,
  }
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

/** No server starts without room for one more file of its log, and none with less can tell: its words go to this disk. */
const ROOM_MIN_BYTES = 16 * 2 ** 20

async function startFailure(what: string, place: PostgresPlace): Promise<HelixError> {
  const written = await lastLog(place)
  const full = (await freeSpace(place.directory)) < ROOM_MIN_BYTES
  return postgresFailure(what, full ? `${written}\nNo space left on device` : written)
}

/** What a server writes before it opens its own log: mostly why it could not start. */
function startLogPath(place: PostgresPlace): string {
  return join(place.directory, 'start.log')
}

/** The last lines of what the server wrote, of the moment before its log was open and after. */
async function lastLog(place: PostgresPlace): Promise<string> {
  const directory = join(place.directory, 'log')
  const names = await readdir(directory).catch(() => [])
  const logs = await Promise.all(
    names.map(async (name) => ({
      path: join(directory, name),
      changed: await changedAtMs(join(directory, name)),
    })),
  )
  const newest = logs.sort((a, b) => b.changed - a.changed).slice(0, 1)
  const paths = [startLogPath(place), ...newest.map(({ path }) => path)]
  const texts = await Promise.all(paths.map((path) => readFile(path, 'utf8').catch(() => '')))
  return texts.flatMap((text) => text.trim().split('\n').slice(-6)).join('\n')
}

async function changedAtMs(path: string): Promise<number> {
  return (await stat(path)).mtimeMs
}
