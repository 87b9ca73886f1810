import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HelixError } from '../../core/errors.ts'
import type { EmbeddedPostgres } from '../embedded-postgres.ts'
import { freeSpace } from '../free-space.ts'
import { runCommand } from '../run-command.ts'
import { writeArchiveScript } from './archive-script.ts'
import { diskFull } from './backup-failure.ts'
import type { BackupPart, BackupRequest, BackupSource } from './backup-source.ts'
import { copyCluster } from './base-backup.ts'
import { isAbsent } from './data-directory.ts'
import { readServerFacts, readSettings, type ServerFacts } from './server-facts.ts'
import { openSession, type Session } from './session.ts'
import type { WalArchive } from './wal-archive.ts'
import { parseLsn, segmentBefore, segmentName } from './wal-names.ts'
import { leaveWitness } from './witness.ts'

/** How much may be lost with the disk: the log is archived at least this often while anything is written. */
const ARCHIVE_TIMEOUT = '60s'

const POLL_MS = 100

/** The database that this process runs. */
export class EmbeddedSource implements BackupSource {
  readonly kind = 'embedded'

  constructor(
    private readonly postgres: EmbeddedPostgres,
    private readonly archiveOf: (systemIdentifier: string) => WalArchive,
  ) {}

  connect(): Promise<Session> {
    return openSession(this.postgres.superuser)
  }

  async make(session: Session, request: BackupRequest): Promise<BackupPart> {
    const { content, id, signal, onProgress } = request
    const facts = await readServerFacts(session)
    const archive = this.archiveOf(facts.server.systemIdentifier)
    await this.startArchive(session, archive)
    const before = await failures(session)
    const base = await copyCluster({
      session,
      majorVersion: facts.server.majorVersion,
      dataDirectory: this.postgres.directory,
      into: join(content, 'data'),
      label: `helixflow ${id}`,
      signal,
      onProgress,
    })
    const witness = await leaveWitness(session, `helixflow-${id}`, signal)
    await session.query('select pg_switch_wal()')
    const { nowMs } = await readServerFacts(session)
    const { timeline, segmentBytes } = facts
    const first = segmentAt(base.startLsn, facts)
    const last = segmentBefore(parseLsn(witness.lsn), timeline, segmentBytes).number
    for (let number = first; number <= last; number++) {
      const name = segmentName({ timeline, number }, segmentBytes)
      await this.archived({ archive, name, session, before, signal })
      await archive.extract(name, join(content, 'data', 'pg_wal', name), signal)
      onProgress({
        step: 'copying the log',
        done: number - first + 1,
        total: last - first + 1,
        unit: 'files',
      })
    }
    return {
      server: facts.server,
      createdAtMs: nowMs,
      wal: { timeline, segmentBytes, startLsn: base.startLsn, stopLsn: base.stopLsn, first, last },
      witness,
      hashed: base.files.map((file) => ({ ...file, path: `data/${file.path}` })),
    }
  }

  /** From here on every finished part of the log is kept; see `SCRIPT`. */
  private async startArchive(session: Session, archive: WalArchive): Promise<void> {
    const settings = await readSettings(session, ['archive_mode', 'archive_command'])
    const ready = settings.get('archive_mode') === 'on'
    if (!ready || !settings.get('archive_command')?.includes(archive.directory)) {
      throw new HelixError(
        'backup_failed',
        `The database server does not archive its log to ${archive.directory}. Set backup.enabled to true if it is not, and start HelixFlow again.`,
      )
    }
    const { directory, user } = this.postgres
    await archive.prepare(user)
    const writable = await runCommand('/bin/sh', ['-c', 'test -w "$0"', archive.directory], { user })
    if (!writable.succeeded) {
      throw new HelixError(
        'backup_failed',
        `The database's user ${user?.name ?? ''} cannot write to ${archive.directory}. Let it pass through the folders above (chmod o+x), or set backup.directory to another place.`,
      )
    }
    await writeArchiveScript(directory, user)
    await session.query(`alter system set archive_timeout = '${ARCHIVE_TIMEOUT}'`)
    await session.query('select pg_reload_conf()')
  }

  /** Waits until the server has put that file into the archive. */
  private async archived(wait: ArchiveWait): Promise<void> {
    const { archive, name, session, before, signal } = wait
    while (!(await archive.has(name))) {
      signal.throwIfAborted()
      // The server tries thrice before it rests for a minute.
      if ((await failures(session)) - before >= 3) throw await archiveFailure(archive)
      await sleep(POLL_MS)
    }
  }
}

interface ArchiveWait {
  readonly archive: WalArchive
  readonly name: string
  readonly session: Session
  readonly before: number
  readonly signal: AbortSignal
}

async function failures(session: Session): Promise<number> {
  const [row] = await session.query<{ count: number }>(
    'select failed_count::float8 as count from pg_stat_archiver',
  )
  return row?.count ?? 0
}

/** Room for less than one segment explains it; else the reason is in the server's log. */
async function archiveFailure({ directory }: WalArchive): Promise<HelixError> {
  const free = await freeSpace(directory).catch((reason: unknown) => {
    if (isAbsent(reason)) return undefined
    throw reason
  })
  if (free !== undefined && free < 2 ** 20) return diskFull(directory, 'the log cannot be archived')
  return new HelixError(
    'backup_failed',
    `The database cannot archive its log to ${directory}. Its own log, in the folder 'log' of its data, says why.`,
  )
}

/** The segment that the byte at a position is in. */
function segmentAt(lsn: string, { segmentBytes }: ServerFacts): number {
  return Number(parseLsn(lsn) / BigInt(segmentBytes))
}
