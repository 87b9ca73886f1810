import { chown, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { makeDirectoryOnce } from './directory-once.ts'
import { removeLeftovers } from './leftovers.ts'
import type { PostgresBinaries } from './postgres-binaries.ts'
import { postgresFailure } from './postgres-failure.ts'
import { holdsDatabase, type PostgresPlace } from './postgres-place.ts'
import { runCommand } from './run-command.ts'

/** The superuser of the embedded server. It starts and keeps it; the program itself works as a lesser role. */
export const DATABASE_USER = 'helixflow'

/** Nothing of this process's environment may decide how the database is made or runs. */
export const POSTGRES_ENVIRONMENT = { PATH: '/usr/bin:/bin', LC_ALL: 'C' } as const

/**
 * Makes the data directory if there is none. A kill in the middle, or a second start at the same time, leaves one
 * whole directory or none.
 * @throws HelixError `database_unavailable`, `disk_full`
 */
export async function initialiseDatabase(request: {
  place: PostgresPlace
  binaries: PostgresBinaries
  password: string
  log: Logger
}): Promise<void> {
  const { place, binaries, password, log } = request
  await removeLeftovers(place.directory)
  if (await holdsDatabase(place.directory)) return

  log.info('making the database', { directory: place.directory, version: binaries.version })
  await makeDirectoryOnce(place.directory, async (content, workspace) => {
    const passwordFile = join(workspace, 'password')
    await writeFile(passwordFile, password, { mode: 0o600 })
    if (place.user) {
      for (const path of [workspace, passwordFile]) await chown(path, place.user.uid, place.user.gid)
    }
    const { succeeded, output, complaint } = await runCommand(
      join(binaries.directory, 'initdb'),
      [
        `--pgdata=${content}`,
        `--username=${DATABASE_USER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        // The order of texts by bytes never changes under an index, as that of a system's locale does with updates.
        '--locale=C',
        '--data-checksums',
      ],
      { user: place.user, environment: POSTGRES_ENVIRONMENT },
    )
    if (!succeeded) throw postgresFailure('The database could not be made', `${output}\n${complaint}`)
  })
  if (await holdsDatabase(place.directory)) return
  throw new HelixError(
    'database_unavailable',
    `${place.directory} holds files, but no PostgreSQL database. Empty it, or name another folder.`,
  )
}

/** The major version that made the data directory, undefined where there is none. */
export async function majorVersionOf(directory: string): Promise<number | undefined> {
  if (!(await holdsDatabase(directory))) return undefined
  return Number.parseInt(await readFile(join(directory, 'PG_VERSION'), 'utf8'), 10)
}
