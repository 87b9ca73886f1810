import type { SystemUser } from '../run-command.ts'
import { archiveCommand, renewArchiveScript } from './archive-script.ts'
import { BackupStore, backupDirectory } from './backup-store.ts'
import { systemIdentifierOf } from './data-directory.ts'

/**
 * How an embedded server is started so that its log can be archived. The archive is ready at every start and waits for
 * the first backup: switching archive_mode on later would need a restart. Each database has its own folder, so that
 * a new one in the old place cannot collide with the log of the old one.
 * @param backups undefined: switched off
 */
export async function archiveSettings(
  { directory: dataDirectory, user }: { readonly directory: string; readonly user: SystemUser | undefined },
  backups: { readonly directory?: string | undefined } | undefined,
): Promise<Readonly<Record<string, string>>> {
  const systemIdentifier = await systemIdentifierOf(dataDirectory)
  if (!backups || systemIdentifier === undefined) return { archive_mode: 'off' }
  await renewArchiveScript(dataDirectory, user)
  const store = new BackupStore(backupDirectory(dataDirectory, backups.directory))
  const { directory } = store.archiveOf(systemIdentifier)
  return { archive_mode: 'on', archive_command: archiveCommand(directory) }
}
