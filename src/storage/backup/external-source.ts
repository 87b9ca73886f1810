import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HelixError } from '../../core/errors.ts'
import type { OnProgress } from '../../core/progress.ts'
import { systemDirectories } from '../postgres-binaries.ts'
import { postgresFailure } from '../postgres-failure.ts'
import { POSTGRES_ENVIRONMENT } from '../postgres-initialise.ts'
import { runCommand } from '../run-command.ts'
import type { BackupPart, BackupRequest, BackupSource } from './backup-source.ts'
import { listTree } from './file-records.ts'
import { readServerFacts, refuseTablespaces } from './server-facts.ts'
import { openSession, type Session } from './session.ts'
import { parseSegmentName } from './wal-names.ts'

const PROGRESS_MS = 1_000

/**
 * A server that somebody else runs. Its log is archived by that server's own archive_command, which we cannot set;
 * the backup brings what it needs to be consistent, and `--to-time` needs to be told how to reach the archive.
 */
export class ExternalSource implements BackupSource {
  readonly kind = 'external'

  constructor(private readonly url: string) {}

  connect(): Promise<Session> {
    return openSession(this.url)
  }

  async make(session: Session, request: BackupRequest): Promise<BackupPart> {
    const facts = await readServerFacts(session)
    await refuseTablespaces(session)
    const program = await findBaseBackup(facts.server.majorVersion)
    const data = join(request.content, 'data')
    await this.runBaseBackup(program, data, request)
    const { nowMs } = await readServerFacts(session)
    const label = await readFile(join(data, 'backup_label'), 'utf8')
    const startLsn = labelled(label, /START WAL LOCATION: (\S+)/)
    const timeline = Number(labelled(label, /START TIMELINE: (\d+)/))
    const { segmentBytes } = facts
    const numbers = (await readdir(join(data, 'pg_wal')))
      .map((name) => parseSegmentName(name, segmentBytes)?.number)
      .filter((number) => number !== undefined)
    const stopLsn = await endOf(data)
    return {
      server: facts.server,
      createdAtMs: nowMs,
      wal: {
        timeline,
        segmentBytes,
        startLsn,
        stopLsn,
        first: Math.min(...numbers),
        last: Math.max(...numbers),
      },
      witness: undefined,
      hashed: [],
    }
  }

  private async runBaseBackup(program: string, data: string, request: BackupRequest): Promise<void> {
    const { signal, onProgress, id } = request
    const url = new URL(this.url)
    // Not on the command line, where everybody on this machine could read it.
    const password = decodeURIComponent(url.password)
    url.password = ''
    const ended = new AbortController()
    const watching = watchSize(data, onProgress, ended.signal)
    const { succeeded, output, complaint } = await runCommand(
      program,
      [
        `--dbname=${url.href}`,
        `--pgdata=${data}`,
        '--format=plain',
        '--wal-method=stream',
        '--checkpoint=fast',
        '--manifest-checksums=SHA256',
        `--label=helixflow ${id}`,
        '--no-password',
      ],
      { environment: { ...POSTGRES_ENVIRONMENT, ...(password && { PGPASSWORD: password }) }, signal },
    )
    ended.abort()
    await watching
    signal.throwIfAborted()
    if (succeeded) return
    const failure = postgresFailure('pg_basebackup failed', `${output}\n${complaint}`)
    const hint = 'Its user needs REPLICATION, and pg_hba.conf a line `host replication`.'
    throw failure.code === 'disk_full'
      ? failure
      : new HelixError('backup_failed', `${failure.publicMessage}\n${hint}`)
  }
}

/** A newer pg_basebackup reads older servers, not the other way round. */
async function findBaseBackup(majorVersion: number): Promise<string> {
  const found: string[] = []
  for (const directory of await systemDirectories()) {
    const program = join(directory, 'pg_basebackup')
    const { succeeded, output } = await runCommand(program, ['--version'])
    const major = Number(/\(PostgreSQL\) (\d+)/.exec(output)?.[1])
    if (succeeded && major >= majorVersion) return program
    if (succeeded) found.push(output)
  }
  throw new HelixError(
    'backup_failed',
    `A backup of PostgreSQL ${majorVersion} needs pg_basebackup of that version or a newer one on this machine (Debian: apt-get install postgresql-client). Found: ${found.join(', ') || 'none'}`,
  )
}

/** pg_basebackup counts for terminals; what has landed is counted here instead. */
async function watchSize(data: string, onProgress: OnProgress, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await sleep(PROGRESS_MS, undefined, { signal: ended }).catch(() => ended.aborted)
    const { files } = await listTree(data).catch(() => ({ files: [] }))
    const sizes = files.map((path) =>
      stat(join(data, path)).then(
        ({ size }) => size,
        () => 0,
      ),
    )
    const done = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
    onProgress({ step: 'copying the database', done, unit: 'bytes' })
  }
}

/** Where the log that came along has to be replayed to, as PostgreSQL's own list of the backup says. */
async function endOf(data: string): Promise<string> {
  const text = await readFile(join(data, 'backup_manifest'), 'utf8')
  const { 'WAL-Ranges': ranges } = JSON.parse(text) as { 'WAL-Ranges'?: { 'End-LSN'?: string }[] }
  return ranges?.at(-1)?.['End-LSN'] ?? ''
}

function labelled(label: string, pattern: RegExp): string {
  const found = pattern.exec(label)?.[1]
  if (found !== undefined) return found
  throw new HelixError('backup_failed', 'pg_basebackup wrote a label that cannot be read.')
}
