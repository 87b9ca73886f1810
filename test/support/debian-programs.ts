import { access, chmod, mkdir, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { makeDirectoryOnce } from '../../src/storage/directory-once.ts'
import { runCommand, type SystemUser } from '../../src/storage/run-command.ts'

/** Programs of a Debian package that tests need. */
export interface DebianPrograms {
  /** What the cache calls it. */
  readonly name: string
  readonly packages: readonly string[]
  /** Where the package puts its programs, below the root. */
  readonly place: string
  /** The programs that must run. */
  readonly wanted: readonly string[]
  /** Libraries that the package names and that nothing here needs. */
  readonly unneeded?: RegExp
}

export interface FoundPrograms {
  /** The folder that holds them. */
  readonly binaries: string
  /** What they need to run. */
  readonly environment: Readonly<Record<string, string>>
}

export type Finding = { readonly found: FoundPrograms } | { readonly missing: string }

/**
 * The installed ones, or else some that are fetched from the Debian mirror of this machine, once, into
 * node_modules/.cache. Needs no rights and installs nothing. On another system, or without the mirror, says why not.
 * @param user who is going to run them; undefined: the user of this process
 */
export async function findDebianPrograms(programs: DebianPrograms, user?: SystemUser): Promise<Finding> {
  const installed = await usable('/', programs, user)
  if ('found' in installed) return installed
  const reasons: string[] = []
  for (const root of cacheDirectories(programs.name)) {
    const cached = await fetchDebianPrograms(root, programs, user)
    if ('found' in cached) return cached
    reasons.push(cached.missing)
  }
  return { missing: reasons.at(0) ?? installed.missing }
}

/** Those in that folder, fetched if they are not there. */
export async function fetchDebianPrograms(
  root: string,
  programs: DebianPrograms,
  user: SystemUser | undefined,
): Promise<Finding> {
  if (await exists(root)) return usable(root, programs, user)
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
    complaint = await download(workspace, programs)
    if (complaint !== undefined) return
    const packages = (await readdir(workspace)).filter((name) => name.endsWith('.deb'))
    for (const name of packages) {
      const extracted = await runCommand('dpkg', ['-x', join(workspace, name), content])
      if (!extracted.succeeded) complaint = extracted.complaint
    }
  })
  if (complaint === undefined) return usable(root, programs, user)
  await rm(root, { recursive: true, force: true })
  return { missing: `${programs.name} cannot be fetched: ${complaint.split('\n').at(-1)}` }
}

/** Puts the packages into that folder; what went wrong, if anything. */
async function download(directory: string, programs: DebianPrograms): Promise<string | undefined> {
  const first = await downloadWith(directory, programs, [])
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
  return updated.succeeded ? downloadWith(directory, programs, lists) : updated.complaint
}

async function downloadWith(
  directory: string,
  { packages: wanted, unneeded }: DebianPrograms,
  options: readonly string[],
): Promise<string | undefined> {
  const simulated = await runCommand('apt-get', [
    ...['-s', '-o', 'Debug::NoLocking=1', ...options],
    ...['install', '--no-install-recommends', ...wanted],
  ])
  if (!simulated.succeeded) return simulated.complaint
  const missing = [...simulated.output.matchAll(/^Inst (lib\S+)/gm)].map(([, name = '']) => name)
  const packages = new Set([...wanted, ...missing.filter((name) => !unneeded?.test(name))])
  // apt-get downloads to where it stands.
  const downloaded = await runCommand('/bin/sh', [
    ...['-c', 'cd "$0" && exec apt-get "$@"', directory],
    ...['-qq', ...options, 'download', ...packages],
  ])
  return downloaded.succeeded ? undefined : downloaded.complaint
}

async function usable(
  root: string,
  { name, place, wanted }: DebianPrograms,
  user: SystemUser | undefined,
): Promise<Finding> {
  const binaries = join(root, place)
  const libraries = root === '/' ? [] : await libraryDirectories(root)
  const environment = {
    PATH: `${binaries}:/usr/bin:/bin`,
    LC_ALL: 'C',
    ...(libraries.length > 0 && { LD_LIBRARY_PATH: libraries.join(':') }),
  }
  for (const program of wanted) {
    const tried = await runCommand(join(binaries, program), ['--version'], { user, environment })
    if (!tried.succeeded) return { missing: `${program} of ${name} does not run: ${tried.complaint}` }
  }
  return { found: { binaries, environment } }
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
function cacheDirectories(name: string): string[] {
  const cache = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'helixflow')
  return [join(cache, name), join(tmpdir(), 'helixflow-cache', name)]
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
