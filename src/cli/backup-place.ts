import type { Settings } from '../config/load.ts'
import type { Places } from '../config/places.ts'
import { HelixError } from '../core/errors.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import { watchDisk } from '../metrics/disk-metrics.ts'
import { BackupService } from '../storage/backup/backup-service.ts'
import { BackupStore, backupDirectory } from '../storage/backup/backup-store.ts'
import { EmbeddedSource } from '../storage/backup/embedded-source.ts'
import { ExternalSource } from '../storage/backup/external-source.ts'
import type { EmbeddedPostgres } from '../storage/embedded-postgres.ts'
import { chooseDataPlace, type DataPlace } from '../storage/postgres-place.ts'
import { systemClock } from '../system.ts'

/** Without them, what the database holds is of no use. */
export function secretFiles(places: Places): readonly string[] {
  return [places.pepper]
}

/** The backups of the database that this process uses. */
export function startBackups(parts: {
  settings: Settings
  places: Places
  /** Undefined: the database is somebody else's. */
  postgres: EmbeddedPostgres | undefined
  metrics: Metrics
  lifecycle: Lifecycle
  log: Logger
}): BackupService {
  const { settings, places, postgres, metrics, lifecycle, log } = parts
  const { backup } = settings.config
  const store = new BackupStore(backupDirectory(postgres?.directory ?? places.postgres, backup.directory))
  const service = new BackupService({
    source: postgres
      ? new EmbeddedSource(postgres, (systemIdentifier) => store.archiveOf(systemIdentifier))
      : new ExternalSource(externalUrl(settings)),
    store,
    settings: { ...backup, scheduleMs: backup.schedule ?? undefined },
    secretFiles: secretFiles(places),
    metrics,
    log: log.with({ part: 'backup' }),
    clock: systemClock,
  })
  service.start()
  lifecycle.add('backups', () => service.stop())
  if (backup.enabled) {
    const end = watchDisk(metrics, { place: 'backups', directory: store.directory, clock: systemClock })
    lifecycle.add('backup disk', async () => end())
  }
  return service
}

function externalUrl({ config: { database } }: Settings): string {
  if (database.driver === 'postgres') return database.url
  throw new HelixError('invalid_configuration', 'The embedded database did not start.')
}

/** Where backups lie and where a restored database goes, for commands that work without the server. */
export async function findBackups(
  settings: Settings,
  places: Places,
  log: Logger,
): Promise<{ readonly store: BackupStore; readonly place: DataPlace }> {
  const place = await chooseDataPlace({ directory: places.postgres, log })
  const { database, backup } = settings.config
  const data = database.driver === 'embedded' ? place.directory : places.postgres
  return { store: new BackupStore(backupDirectory(data, backup.directory)), place }
}
