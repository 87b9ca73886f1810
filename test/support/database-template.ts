import { createHash } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/core/log.ts'
import { makeDirectoryOnce } from '../../src/storage/directory-once.ts'
import { findPostgresBinaries, type PostgresBinaries } from '../../src/storage/postgres-binaries.ts'
import { initialiseDatabase } from '../../src/storage/postgres-initialise.ts'
import { chooseDataPlace, type DataPlace, holdsDatabase } from '../../src/storage/postgres-place.ts'
import { runCommand } from '../../src/storage/run-command.ts'
import { readOrCreateSecret } from '../../src/storage/secret-file.ts'

const root = join(import.meta.dirname, '..', '..')
/** Where what tests need is kept between runs. */
export const CACHE = join(root, 'node_modules', '.cache', 'helixflow')

/** The program that makes data directories: another one may make others. */
const MAKER = join(root, 'src', 'storage', 'postgres-initialise.ts')

/**
 * Has an embedded database lie there that nobody has started yet, as after `initialiseDatabase`: a copy, for initdb takes
 * longer than most tests. Whoever tests how a database comes to be starts without one.
 */
export async function placeDatabase(asked: string, given?: string): Promise<void> {
  const place = await chooseDataPlace({ directory: asked, log: silentLog })
  const binaries = await findPostgresBinaries({ given, majorVersion: undefined, ...place })
  const template = join(CACHE, `database-${await keyOf(place, binaries)}`)
  if (!(await holdsDatabase(join(template, 'postgres')))) await makeTemplate(template, place, binaries)
  await copyTree(join(template, 'postgres'), place.directory)
  await copyTree(join(template, 'postgres.password'), place.passwordFile)
}

async function keyOf({ user }: DataPlace, { directory, version }: PostgresBinaries): Promise<string> {
  const parts = JSON.stringify([directory, version, user, await readFile(MAKER, 'utf8')])
  return createHash('sha256').update(parts).digest('hex').slice(0, 16)
}

/** Where the database's user can pass, which is not everywhere that the cache may be. */
async function makeTemplate(template: string, asked: DataPlace, binaries: PostgresBinaries): Promise<void> {
  const workplace = await mkdtemp(join(tmpdir(), 'helixflow-template-'))
  try {
    await chmod(workplace, 0o711)
    const directory = join(workplace, 'postgres')
    const passwordFile = `${directory}.password`
    const place = { ...asked, directory, passwordFile, socketDirectory: workplace }
    const password = await readOrCreateSecret(passwordFile)
    await initialiseDatabase({ place, binaries, password, log: silentLog })
    // Not left to what makes it on the way, for itself alone: others run programs that lie beside it.
    await mkdir(CACHE, { recursive: true, mode: 0o755 })
    await makeDirectoryOnce(template, async (content) => {
      await mkdir(content)
      for (const name of ['postgres', 'postgres.password']) {
        await copyTree(join(workplace, name), join(content, name))
      }
    })
  } finally {
    await rm(workplace, { recursive: true, force: true })
  }
}

/** With owners and modes. Node's own copying knows no owners, and takes its time for a thousand files. */
export async function copyTree(from: string, to: string): Promise<void> {
  const { succeeded, complaint } = await runCommand('cp', ['-pR', from, to])
  if (!succeeded) throw new Error(`cp: ${complaint}`)
}
