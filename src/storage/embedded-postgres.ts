import { rm } from 'node:fs/promises'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { APPLICATION_ROLE, ensureApplicationRole } from './application-role.ts'
import { archiveSettings } from './backup/archive-settings.ts'
import type { PostgresConnection } from './database.ts'
import { finishSwap } from './directory-swap.ts'
import { type InstanceLock, lockInstance } from './instance-lock.ts'
import { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.ts'
import { postgresFailure } from './postgres-failure.ts'
import { DATABASE_USER, initialiseDatabase, majorVersionOf } from './postgres-initialise.ts'
import { choosePlace, holdsDatabase, type PostgresPlace } from './postgres-place.ts'
import { type Postmaster, runPostmaster, StartedPostmaster } from './postmaster.ts'
import type { SystemUser } from './run-command.ts'
import { readOrCreateSecret, readSecret } from './secret-file.ts'

export interface EmbeddedPostgresOptions {
  /** The data directory. The password is kept beside it, in `<directory>.password`. */
  readonly directory: string
  /** For the Unix socket: short, and gone with the next boot where possible. */
  readonly runtimeDirectory: string
  /** Folder with `postgres` and `initdb`; undefined: the system's own, then the ones that npm installed. */
  readonly binaries?: string | undefined
  /** Where backups and the archive of the log go; undefined: the log is not archived. */
  readonly backups?: { readonly directory?: string | undefined } | undefined
  readonly log: Logger
  readonly clock: Clock
}

export interface EmbeddedPostgres {
  /** Stays valid when the server is started again after a crash. */
  readonly connection: PostgresConnection
  /** For what only a superuser may: the server's own upkeep. */
  readonly superuser: PostgresConnection
  /** `15.18` */
  readonly version: string
  /** Where the data really is: not the asked-for place where root had to choose one that another user can reach. */
  readonly directory: string
  /** As whom it runs; undefined: as the user of this process. */
  readonly user: SystemUser | undefined
  /** Resolves when nothing of it runs any more. */
  stop(): Promise<void>
}

const RESTART_DELAY_MAX_MS = 30_000

/** Room on a disk comes at any moment, and nothing else is wrong then. */
const FULL_DISK_DELAY_MS = 1_000

/** A server that ran for this long and then ends has a new trouble, not the last one again. */
const STABLE_MS = 60_000

/**
 * A PostgreSQL of our own as a child process, on a Unix socket only. It ends with this process, even by SIGKILL; it
 * is started again when it ends by itself; and no two HelixFlow share one.
 * @throws HelixError `already_running`, `database_unavailable`, `disk_full`, `invalid_configuration`
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  try {
    return await start(options)
  } catch (reason) {
    if (reason instanceof HelixError) throw reason
    // The system refused a folder or a file.
    throw postgresFailure('The embedded database cannot be started', String(reason))
  }
}

async function start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { log } = options
  const place = await choosePlace(options)
  await finishSwap(place.directory)
  const binaries = await findPostgresBinaries({
    given: options.binaries,
    majorVersion: await majorVersionOf(place.directory),
    user: place.user,
    programsDirectory: place.programsDirectory,
  })
  const password = await passwordOf(place)
  await initialiseDatabase({ place, binaries, password, log })
  const settings = await archiveSettings(place, options.backups)
  const server = new EmbeddedServer({ place, binaries, password, settings, log, clock: options.clock })
  await server.start()
  log.info('database ready', { version: server.version, directory: place.directory })
  return server
}

async function passwordOf(place: PostgresPlace): Promise<string> {
  if (!(await holdsDatabase(place.directory))) return readOrCreateSecret(place.passwordFile)
  const password = await readSecret(place.passwordFile)
  if (password !== undefined) return password
  throw new HelixError(
    'database_unavailable',
    `The database in ${place.directory} exists, but its password in ${place.passwordFile} is gone. Restore that file from where the database came.`,
  )
}

interface ServerParts {
  readonly place: PostgresPlace
  readonly binaries: PostgresBinaries
  readonly password: string
  readonly settings: Readonly<Record<string, string>>
  readonly log: Logger
  readonly clock: Clock
}

class EmbeddedServer implements EmbeddedPostgres {
  private readonly stopping = new AbortController()
  private current: { readonly postmaster: Postmaster; readonly lock: InstanceLock } | undefined
  private supervision: Promise<void> = Promise.resolve()
  private place: PostgresPlace

  constructor(private readonly parts: ServerParts) {
    this.place = parts.place
  }

  get connection(): PostgresConnection {
    return { ...this.superuser, user: APPLICATION_ROLE }
  }

  get superuser(): PostgresConnection {
    const { password } = this.parts
    return { host: this.place.socketDirectory, database: 'postgres', user: DATABASE_USER, password }
  }

  get version(): string {
    return this.current?.lock.version ?? this.parts.binaries.version
  }

  get directory(): string {
    return this.place.directory
  }

  get user(): SystemUser | undefined {
    return this.place.user
  }

  async start(): Promise<void> {
    await this.takeServer()
    await ensureApplicationRole(this.superuser, this.parts.log)
    this.supervision = this.supervise()
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    this.current?.lock.release()
    await this.supervision
    // Another one, where the server was being started again just now.
    this.current?.lock.release()
    await this.current?.postmaster.stop()
    await rm(this.place.socketDirectory, { recursive: true, force: true })
  }

  /** Has a server run, and makes it this process's own. */
  private async takeServer(): Promise<void> {
    const { log, clock } = this.parts
    const postmaster = await runPostmaster({ ...this.parts, place: this.place, signal: this.stopping.signal })
    // An adopted server may listen elsewhere. Its successor must too, for the sake of open pools.
    this.place = { ...this.place, socketDirectory: postmaster.socketDirectory }
    try {
      const lock = await lockInstance({ connection: this.superuser, directory: this.directory, log, clock })
      this.current = { postmaster, lock }
      // Not for an adopted one before now: its true owner's end is none of our business.
      postmaster.guard()
    } catch (reason) {
      const taken = HelixError.from(reason).code === 'already_running'
      if (taken || !(postmaster instanceof StartedPostmaster)) postmaster.abandon()
      else await postmaster.stop()
      throw reason
    }
  }

  /** Starts the server again for as long as it ends by itself: whatever ends it closes the lock's connection too. */
  private async supervise(): Promise<void> {
    const { clock } = this.parts
    for (let tries = 0; !this.stopping.signal.aborted; ) {
      const readyAtMs = clock.monotonic()
      await this.current?.lock.lost
      // The number of a process that is gone may soon be another's.
      this.current?.postmaster.abandon()
      if (clock.monotonic() - readyAtMs > STABLE_MS) tries = 0
      tries = await this.bringBack(tries)
    }
  }

  /** Tries until it runs again, or is to stop. Returns how often that was tried, those before included. */
  private async bringBack(triesBefore: number): Promise<number> {
    const { log, clock } = this.parts
    const { signal } = this.stopping
    let tries = triesBefore
    for (let full = false; ; ) {
      const delayMs = full ? FULL_DISK_DELAY_MS : Math.min(RESTART_DELAY_MAX_MS, 50 * 2 ** tries)
      if (full || tries > 0) await pause(clock, delayMs, signal)
      if (signal.aborted) return tries
      // Of a disk that stays full one line is enough.
      if (!full) log.warn('database server lost, starting it again', { tries })
      try {
        await this.takeServer()
        log.info('database ready again', { tries })
        return full ? tries : tries + 1
      } catch (reason) {
        const told = full
        full = HelixError.from(reason).code === 'disk_full'
        // Waiting for room says nothing about the server: the next time that it ends, it is started at once.
        if (!full) tries += 1
        if (!signal.aborted && !(told && full)) {
          log.error('database server does not come back', { tries, cause: String(reason) })
        }
      }
    }
  }
}

/** Ends early, and not as an error, when the signal aborts. */
async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  await delay(clock, delayMs, signal).catch(() => signal.aborted)
}
