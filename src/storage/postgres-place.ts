import { createHash } from 'node:crypto'
import { access, chmod, chown, constants, lstat, mkdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { runCommand, type SystemUser } from './run-command.ts'

/** Where the data of the embedded PostgreSQL lives and as whom it runs. */
export interface DataPlace {
  /** Undefined: as the user of this process. */
  readonly user: SystemUser | undefined
  /** The data directory; may not exist yet. */
  readonly directory: string
  /** Stays with the caller: the database's own user has no use for it. */
  readonly passwordFile: string
  /** Where programs are copied to when that user cannot read them where they are. */
  readonly programsDirectory: string
}

export interface PostgresPlace extends DataPlace {
  /** Exists, and only the database's user may enter it. */
  readonly socketDirectory: string
}

/** Where root keeps what another user must reach, when the asked-for place lies behind closed doors. */
const SHARED_DIRECTORY = '/var/lib/helixflow'

/** The path of a Unix socket has 104 bytes on macOS and 108 on Linux, `/.s.PGSQL.5432` and a NUL included. */
const SOCKET_DIRECTORY_BYTES_MAX = 104 - '/.s.PGSQL.5432'.length - 1

/**
 * PostgreSQL refuses to run as root. So root runs it as the owner of the data directory or, when that is new, as
 * `postgres` or `nobody`; and where that user cannot pass (a home under /root), data and socket move to
 * /var/lib/helixflow/<12 digits>. Anybody else runs it as themselves, where they said.
 * @throws HelixError `database_unavailable`
 */
export async function choosePlace(asked: {
  directory: string
  runtimeDirectory: string
  log: Logger
}): Promise<PostgresPlace> {
  const { user, ...place } = await chooseDataPlace(asked)
  const id = idOf(resolve(asked.directory))
  const sockets = join(resolve(asked.runtimeDirectory), `postgres-${id}`)
  if (!user) return { user, ...place, socketDirectory: await makeSocketDirectory(sockets, undefined) }

  const shared = join(SHARED_DIRECTORY, id)
  await mkdir(dirname(sockets), { recursive: true, mode: 0o711 })
  const reachable = await canEnter(user, dirname(sockets))
  if (!reachable) await makeSharedDirectory(shared)
  const socketDirectory = await makeSocketDirectory(reachable ? sockets : join(shared, 'run'), user)
  return { user, ...place, socketDirectory }
}

/** The same for whoever starts no server there. @throws HelixError `database_unavailable` */
export async function chooseDataPlace(asked: { directory: string; log: Logger }): Promise<DataPlace> {
  const directory = resolve(asked.directory)
  const passwordFile = `${directory}.password`
  const isRoot = process.getuid?.() === 0
  // Others may pass through a folder that root makes here, and not look: the database's user is one of them.
  await mkdir(dirname(directory), { recursive: true, mode: isRoot ? 0o711 : 0o700 })

  if (!isRoot) {
    await refuseForeignDirectory(directory)
    return { user: undefined, directory, passwordFile, programsDirectory: dirname(directory) }
  }

  const shared = join(SHARED_DIRECTORY, idOf(directory))
  const user = await userOf([directory, join(shared, 'postgres')])
  const chosen = await reachableDirectory(user, directory, join(shared, 'postgres'))
  if (chosen !== directory) {
    asked.log.info('database moved to where its user can reach it', {
      asked: directory,
      used: chosen,
      user: user.name,
    })
  }
  return { user, directory: chosen, passwordFile, programsDirectory: SHARED_DIRECTORY }
}

function idOf(directory: string): string {
  return createHash('sha256').update(directory).digest('hex').slice(0, 12)
}

/** Whether a data directory has been made there. */
export async function holdsDatabase(directory: string): Promise<boolean> {
  return access(join(directory, 'PG_VERSION')).then(
    () => true,
    () => false,
  )
}

async function refuseForeignDirectory(directory: string): Promise<void> {
  const owner = await ownerOf(directory)
  if (owner === undefined || owner.uid === process.getuid?.()) return
  throw new HelixError(
    'database_unavailable',
    `The database in ${directory} belongs to user ${owner.uid}. Start HelixFlow as that user, or give it another folder.`,
  )
}

async function userOf(directories: readonly string[]): Promise<SystemUser> {
  for (const directory of directories) {
    if (!(await holdsDatabase(directory))) continue
    const owner = await ownerOf(directory)
    if (owner && owner.uid !== 0) return { name: String(owner.uid), ...owner }
    throw new HelixError(
      'database_unavailable',
      `The database in ${directory} belongs to root, and PostgreSQL does not run as root. Give it to another user: chown -R postgres ${directory}`,
    )
  }
  const user = (await lookUpUser('postgres')) ?? (await lookUpUser('nobody'))
  if (user) return user
  throw new HelixError(
    'database_unavailable',
    'PostgreSQL does not run as root, and this machine has neither a user `postgres` nor `nobody` to run it as. Start HelixFlow as an ordinary user, or set database.driver to postgres with the address of a server.',
  )
}

async function ownerOf(directory: string): Promise<{ uid: number; gid: number } | undefined> {
  const found = await stat(directory).catch(() => undefined)
  return found && { uid: found.uid, gid: found.gid }
}

async function lookUpUser(name: string): Promise<SystemUser | undefined> {
  const uid = await runCommand('id', ['-u', name])
  const gid = await runCommand('id', ['-g', name])
  if (!uid.succeeded || !gid.succeeded) return undefined
  return { name, uid: Number(uid.output), gid: Number(gid.output) }
}

async function reachableDirectory(user: SystemUser, directory: string, shared: string): Promise<string> {
  const reachable = await canEnter(user, dirname(directory))
  if (await holdsDatabase(directory)) {
    if (reachable) return directory
    // Moving on silently would look like the loss of everything.
    throw new HelixError(
      'database_unavailable',
      `The database in ${directory} exists, but user ${user.name} can no longer pass through the folders above it. Let it: chmod o+x each of them, or move the folder to ${shared}.`,
    )
  }
  if (reachable && !(await holdsDatabase(shared))) return directory
  await makeSharedDirectory(dirname(shared))
  return shared
}

async function makeSharedDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  // Not left to mkdir, from whose mode a strict umask would take away what this is for.
  for (const path of [SHARED_DIRECTORY, directory]) await chmod(path, 0o755)
}

/** Asks the system instead of reading mode bits: access lists and mounts have a say too. */
async function canEnter(user: SystemUser, directory: string): Promise<boolean> {
  return (await runCommand('/bin/sh', ['-c', 'test -x "$0"', directory], { user })).succeeded
}

async function makeSocketDirectory(directory: string, user: SystemUser | undefined): Promise<string> {
  if (Buffer.byteLength(directory) > SOCKET_DIRECTORY_BYTES_MAX) {
    throw new HelixError(
      'database_unavailable',
      `The folder for sockets, ${directory}, has a path of more than ${SOCKET_DIRECTORY_BYTES_MAX} bytes, which the system does not allow. Choose a shorter one.`,
    )
  }
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const found = await lstat(directory)
  const own = process.getuid?.() ?? found.uid
  // Somebody else may have put a link there, to have root give away what it points to.
  if (!found.isDirectory() || ![own, user?.uid].includes(found.uid)) {
    throw new HelixError(
      'database_unavailable',
      `${directory} is needed for the database's socket, but belongs to somebody else. Remove it.`,
    )
  }
  if (user) await chown(directory, user.uid, user.gid)
  await chmod(directory, 0o700)
  await access(directory, constants.X_OK)
  return directory
}
