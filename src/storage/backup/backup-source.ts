import type { OnProgress } from '../../core/progress.ts'
import type { FileRecord, Manifest } from './manifest.ts'
import type { Session } from './session.ts'

export interface BackupRequest {
  readonly id: string
  /** An empty folder; the data directory goes to `data` in it. */
  readonly content: string
  readonly signal: AbortSignal
  readonly onProgress: OnProgress
}

/** What the source of a backup knows of it. */
export interface BackupPart extends Pick<Manifest, 'server' | 'createdAtMs' | 'wal' | 'witness'> {
  /** Files whose content is known already, with paths in the backup. */
  readonly hashed: readonly FileRecord[]
}

/** A database that can be copied while it runs. */
export interface BackupSource {
  readonly kind: Manifest['source']
  connect(): Promise<Session>
  /**
   * Fills `data` with a data directory that holds all it needs to become consistent, so that it can be restored with
   * PostgreSQL alone.
   * @throws HelixError `backup_failed`, `disk_full`; the signal's reason
   */
  make(session: Session, request: BackupRequest): Promise<BackupPart>
}
