import { access, chmod, mkdir, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { makeDirectoryOnce } from '../../src/storage/directory-once.ts'
import { runCommand, type SystemUser } from '../../src/storage/run-command.ts'

/** The programs of Debian's PostgreSQL 15, the server's and the client's. */
export interface Postgresql15 {
  /** Holds `postgres`, `initdb`, `pg_basebackup` and the others. */
  readonly binaries: string
  /** What they need to run, beside the given user. */
  readonly environment: Readonly<Record<string, string>>
  /** Who runs them: root may not run a server. Undefined: this process's own user. */
  readonly user: SystemUser | undefined
}

export type FoundPostgresql15 = { readonly programs: Postgresql15 } | { readonly missing: string }

/** Where Debian's package puts its programs; they find their other files from there, wherever the root is. */
const PLACE = 'usr/lib/postgresql/15/bin'

const WANTED = ['postgres', 'initdb', 'pg_basebackup']

const PACKAGES = ['postgresql-15', 'postgresql-client-15', 'libpq5']

/** Needed only for just-in-time compilation, and larger than everything else together. */
const UNNEEDED = /^lib(llvm|perl|z3)/

/**
 * The installed one, or else one that is fetched from the Debian mirror of this machine, once, into node_modules/.cache.
 * Needs no rights and installs nothing. On another system, or without the mirror, says why not.
 */
export async function findPostgresql15(): Promise<FoundPostgresql15> {
  const user = await userForServers()
  const installed = await usable('/', user)
  if ('programs' in installed) return installed
  const reasons: string[] = []
  for (const root of cacheDirectories()) {
    const cached = await fetchPostgresql15(root, user)
    if ('programs' in cached) return cached
    reasons.push(cached.missing)
  }
  return { missing: reasons.at(0) ?? installed.missing }
}

/** The one in that folder, fetched if it is not there. */
export async function fetchPostgresql15(
  root: string,
  user: SystemUser | undefined,
): Promise<FoundPostgresql15> {
  if (await exists(root)) return usable(root, user)
  for (const command of ['apt-get', 'dpkg']) {
    const { succeeded } = await runCommand(command, ['--version'])
    if (!succeeded) return { missing: `this system has no ${command}, so it is no Debian` }
  }
  // Not left to those who make it on the way, and for themselves alone.
  await mkdir(dirname(root), { recursive: true, mode: 0o755 })
  let complaint: string | undefined
  await makeDirectoryOnce(root, async (content, workspace) => {
    await mkdir(content)
    // Others run what lies here.
    await chmod(content, 0o755)
    complaint = await download(workspace)
    if (complaint !== undefined) return
    const packages = (await readdir(workspace)).filter((name) => name.endsWith('.deb'))
    for (const name of packages) {
      const extracted = await runCommand('dpkg', ['-x', join(workspace, name), content])
      if (!extracted.succeeded) complaint = extracted.complaint
    }
  })
  if (complaint === undefined) return usable(root, user)
  await rm(root, { recursive: true, force: true })
  return { missing: `PostgreSQL 15 cannot be fetched: ${complaint.split('\n').at(-1)}` }
}

/** Puts the packages into that folder; what went wrong, if anything. */
async function download(directory: string): Promise<string | undefined> {
  const first = await downloadWith(directory, [])
  if (first === undefined) return undefined
  // Containers come without the mirror's lists. Ours go beside the packages, for lack of rights elsewhere.
  const lists = [
    ['Dir::State::lists', join(directory, 'lists')],
    ['Dir::Cache', join(directory, 'cache')],
    ['Debug::NoLocking', '1'],
  ].flatMap(([name, value]) => ['-o', `${name}=${value}`])
  await mkdir(join(directory, 'lists', 'partial'), { recursive: true })
  await mkdir(join(directory, 'cache', 'archives', 'partial'), { recursive: true })
  const updated = await runCommand('apt-get', ['-qq', ...lists, 'update'])
  return updated.succeeded ? downloadWith(directory, lists) : updated.complaint
}

async function downloadWith(directory: string, options: readonly string[]): Promise<string | undefined> {
  const simulated = await runCommand('apt-get', [
    ...['-s', '-o', 'Debug::NoLocking=1', ...options],
    ...['install', '--no-install-recommends', ...PACKAGES],
  ])
  if (!simulated.succeeded) return simulated.complaint
  const missing = [...simulated.output.matchAll(/^Inst (lib\S+)/gm)].map(([, name = '']) => name)
  const packages = new Set([...PACKAGES, ...missing.filter((name) => !UNNEEDED.test(name))])
  // apt-get downloads to where it stands.
  const downloaded = await runCommand('/bin/sh', [
    ...['-c', 'cd "$0" && exec apt-get "$@"', directory],
    ...['-qq', ...options, 'download', ...packages],
  ])
  return downloaded.succeeded ? undefined : downloaded.complaint
}

async function usable(root: string, user: SystemUser | undefined): Promise<FoundPostgresql15> {
  const binaries = join(root, PLACE)
  const libraries = root === '/' ? [] : await libraryDirectories(root)
  const environment = {
    PATH: `${binaries}:/usr/bin:/bin`,
    LC_ALL: 'C',
    ...(libraries.length > 0 && { LD_LIBRARY_PATH: libraries.join(':') }),
  }
  for (const name of WANTED) {
    const tried = await runCommand(join(binaries, name), ['--version'], { user, environment })
    if (!tried.succeeded) return { missing: `${name} of PostgreSQL 15 does not run: ${tried.complaint}` }
  }
  return { programs: { binaries, environment, user } }
}

async function libraryDirectories(root: string): Promise<string[]> {
  const parents = [join(root, 'usr', 'lib'), join(root, 'lib')]
  const found = await Promise.all(
    parents.map(async (parent) => {
      const names = await readdir(parent).catch(() => [])
      return names.filter((name) => name.endsWith('-linux-gnu')).map((name) => join(parent, name))
    }),
  )
  return found.flat()
}

/** The second one for when root's server may not pass through the folders above the first. */
function cacheDirectories(): string[] {
  const cache = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'helixflow')
  return [join(cache, 'postgresql-15'), join(tmpdir(), 'helixflow-cache', 'postgresql-15')]
}

async function userForServers(): Promise<SystemUser | undefined> {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    const uid = await runCommand('id', ['-u', name])
    const gid = await runCommand('id', ['-g', name])
    if (uid.succeeded && gid.succeeded) return { name, uid: Number(uid.output), gid: Number(gid.output) }
  }
  return undefined
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
