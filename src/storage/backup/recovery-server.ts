import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, chown, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HelixError } from '../../core/errors.ts'
import type { OnProgress } from '../../core/progress.ts'
import { type Guardian, guard } from '../../guardian.ts'
import type { PostgresBinaries } from '../postgres-binaries.ts'
import { postgresFailure } from '../postgres-failure.ts'
import { POSTGRES_ENVIRONMENT } from '../postgres-initialise.ts'
import { identity, type SystemUser } from '../run-command.ts'
import type { Manifest } from './manifest.ts'
import { openSession, type Session } from './session.ts'
import { parseLsn } from './wal-names.ts'

/** As whom and with which programs a restored database runs. */
export interface RecoveryHost {
  readonly user: SystemUser | undefined
  readonly programsDirectory: string
  /** Folder with `postgres`; undefined: the ones found. */
  readonly binaries: string | undefined
}

export interface RecoveryRequest {
  /** The data directory. Belongs to `user`. */
  readonly directory: string
  /** A folder of the same user's for what the server needs besides. */
  readonly workspace: string
  readonly user: SystemUser | undefined
  readonly binaries: PostgresBinaries
  readonly server: Manifest['server']
  /** Where the log comes from and how far it is replayed. */
  readonly settings: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

export type OnReplayed = (lsn: string) => void

const POLL_MS = 50

const STOP_PATIENCE_MS = 60_000

/**
 * A server that replays the log on a restored data directory. It listens on a socket that nobody else can reach, so
 * it lets everybody in: the passwords in the data are none of ours. It reads no settings of the data directory but
 * those made by ALTER SYSTEM, since those of an external server mostly lie elsewhere and name things of its machine.
 */
export class RecoveryServer {
  private readonly exited: Promise<void>

  private constructor(
    private readonly request: RecoveryRequest,
    private readonly child: ChildProcess,
    guardian: Guardian,
    private readonly sockets: string,
  ) {
    this.exited = new Promise((resolve) => child.once('exit', () => resolve()))
    this.exited.then(() => guardian.release())
  }

  /** @throws HelixError `database_unavailable` */
  static async start(request: RecoveryRequest): Promise<RecoveryServer> {
    const { workspace, user, directory, binaries } = request
    // Short, since a socket's path may have 103 bytes, and where the database's user can go.
    const sockets = await mkdtemp(join(tmpdir(), 'helixflow-recovery-'))
    await chmod(sockets, 0o700)
    await writeFile(join(workspace, 'hba.conf'), 'local all all trust\n')
    await writeFile(join(workspace, 'ident.conf'), '')
    await writeFile(join(workspace, 'server.conf'), configuration(request, sockets))
    await writeFile(join(directory, 'recovery.signal'), '')
    const output = await open(logPath(request), 'w', 0o600)
    try {
      const own = ['hba.conf', 'ident.conf', 'server.conf'].map((name) => join(workspace, name))
      for (const path of [sockets, ...own, join(directory, 'recovery.signal'), logPath(request)]) {
        if (user) await chown(path, user.uid, user.gid)
      }
      const child = spawn(
        join(binaries.directory, 'postgres'),
        [
          '-D',
          directory,
          '-c',
          `config_file=${join(workspace, 'server.conf')}`,
          ...recoverySettings(request),
        ],
        {
          ...identity(user),
          cwd: '/',
          detached: true,
          env: { ...POSTGRES_ENVIRONMENT },
          stdio: ['ignore', output.fd, output.fd],
        },
      )
      const failed = new Promise<Error>((resolve) => child.once('error', resolve))
      if (child.pid === undefined) {
        throw new HelixError(
          'database_unavailable',
          `PostgreSQL cannot be started: ${(await failed).message}`,
        )
      }
      return new RecoveryServer(request, child, guard(child.pid, 'SIGINT'), sockets)
    } catch (reason) {
      await rm(sockets, { recursive: true, force: true })
      throw reason
    } finally {
      await output.close()
    }
  }

  /**
   * Waits until the log is replayed as far as was asked.
   * @param state `paused`: it stands still there and can be read; `promoted`: it has become a server like any other
   * @throws HelixError `database_unavailable` with what the server said; the signal's reason
   */
  async reached(state: 'paused' | 'promoted', onReplayed: OnReplayed): Promise<Session> {
    for (;;) {
      this.request.signal.throwIfAborted()
      if (!this.isRunning()) throw await this.failure()
      const session = await this.connect().catch(() => undefined)
      if (session) {
        const [now] = await session
          .query<{ recovering: boolean; paused: boolean; lsn: string | null }>(
            `select pg_is_in_recovery() as recovering, pg_last_wal_replay_lsn()::text as lsn,
               case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() = 'paused' end as paused`,
          )
          .catch(() => [])
        if (now?.lsn) onReplayed(now.lsn)
        if (now && (state === 'paused' ? now.paused : !now.recovering)) return session
        await session.close()
      }
      await sleep(POLL_MS)
    }
  }

  connect(): Promise<Session> {
    const { database, superuser } = this.request.server
    return openSession({ host: this.sockets, port: 5432, database, user: superuser, password: '' })
  }

  /** What the server has said, for questions that it answers nowhere else. */
  log(): Promise<string> {
    return readFile(logPath(this.request), 'utf8')
  }

  /** In order, so that everything is on the disk; by force when it does not end in time. */
  async stop(): Promise<void> {
    if (this.isRunning()) this.child.kill('SIGINT')
    const late = setTimeout(() => this.child.kill('SIGQUIT'), STOP_PATIENCE_MS)
    await this.exited
    clearTimeout(late)
    await rm(this.sockets, { recursive: true, force: true })
  }

  private isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  private async failure(): Promise<HelixError> {
    return postgresFailure('The backup does not become a running database', await this.log())
  }
}

function logPath({ workspace }: RecoveryRequest): string {
  return join(workspace, 'server.log')
}

/** What the backup's own files must not decide, ALTER SYSTEM included. */
function recoverySettings({ settings, workspace }: RecoveryRequest): string[] {
  const values: Readonly<Record<string, string>> = {
    hba_file: join(workspace, 'hba.conf'),
    ident_file: join(workspace, 'ident.conf'),
    listen_addresses: '',
    logging_collector: 'off',
    log_destination: 'stderr',
    // Whatever it preloads may not exist here.
    shared_preload_libraries: '',
    ssl: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    // There must be one: this one never finds a file, so that only what came along is replayed.
    restore_command: 'false',
    primary_conninfo: '',
    hot_standby: 'on',
    ...settings,
  }
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

function configuration({ server }: RecoveryRequest, sockets: string): string {
  const values = { unix_socket_directories: `"${sockets}"`, port: '5432', ...server.settings }
  return Object.entries(values)
    .map(([name, value]) => `${name} = '${value.replaceAll(/['\\]/g, '$&$&')}'\n`)
    .join('')
}

/** How much of the log has been replayed since the start of the backup. */
export function replayProgress({ wal }: Manifest, onProgress: OnProgress): OnReplayed {
  const start = parseLsn(wal.startLsn)
  return (lsn) => {
    onProgress({ step: 'replaying the log', done: Number(parseLsn(lsn) - start), unit: 'bytes' })
  }
}

/** A number of its own only where it must be: PostgreSQL then asks for that timeline's history. */
export function timelineSetting({ wal }: Manifest, timeline: number): string {
  return timeline === wal.timeline ? 'current' : String(timeline)
}
