import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import * as accounts from '../../../src/storage/accounts.ts'
import { type Database, openDatabase, type Queries } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import * as keys from '../../../src/storage/keys.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace } from './database-place.ts'
import { PlannedQueries } from './planned-queries.ts'

const ORGANISATIONS = 1_000
const PROJECTS = 10_000
const KEYS = 100_000

const MINE: accounts.Account = { organisationId: 'org_500', projectId: 'proj_5000' }
const NOW_MS = Date.UTC(2026, 10, 1)

/** One call of each function that asks the database something. A function that is not here fails the last test. */
const CALLS: Readonly<Record<string, (database: Database) => Promise<unknown>>> = {
  ensureDefaultAccount: (database) => accounts.ensureDefaultAccount(database, NOW_MS),
  insertKey: (database) =>
    keys.insertKey(database, {
      ...MINE,
      id: 'new',
      name: 'new',
      secretHmac: Buffer.alloc(32),
      createdAtMs: NOW_MS,
      expiresAtMs: undefined,
      revokedAtMs: undefined,
    }),
  findKey: (database) => keys.findKey(database, 'key_777'),
  listKeys: (database) => keys.listKeys(database, MINE),
  revokeKey: (database) => keys.revokeKey(database, MINE, { id: 'key_5000', nowMs: NOW_MS }),
  findPepperFingerprint: (database) => keys.findPepperFingerprint(database),
  insertPepperFingerprint: (database) => keys.insertPepperFingerprint(database, Buffer.alloc(32)),
}

/** Rows for every table that grows with use. A table that is neither here nor small fails the test before the last. */
const SEEDS: Readonly<Record<string, string>> = {
  organisations: `insert into organisations (id, name, created_at)
    select 'org_' || n, 'Organisation ' || n, now() from generate_series(0, ${ORGANISATIONS - 1}) n`,
  projects: `insert into projects (id, organisation_id, name, created_at)
    select 'proj_' || n, 'org_' || n / ${PROJECTS / ORGANISATIONS}, 'Project ' || n, now()
    from generate_series(0, ${PROJECTS - 1}) n`,
  api_keys: `insert into api_keys (id, organisation_id, project_id, name, secret_hmac, created_at)
    select 'key_' || n, 'org_' || n % ${PROJECTS} / ${PROJECTS / ORGANISATIONS}, 'proj_' || n % ${PROJECTS},
           'Key ' || n, decode(repeat(md5(n::text), 2), 'hex'), now() - n * interval '1 second'
    from generate_series(0, ${KEYS - 1}) n`,
}

/** Tables that stay so small that reading them as a whole is the best plan. */
const SMALL: ReadonlySet<string> = new Set(['api_key_pepper', 'schema_migrations'])

/** The modules whose functions ask the database; all that they export are calls. */
const MODULES = { accounts, keys } as const

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
beforeAll(async () => {
  place = await DatabasePlace.make()
  postgres = await place.start()
  const { connection } = postgres
  await migrate({ connection, log: silentLog, clock: systemClock })
  database = openDatabase(connection, {
    acquireTimeoutMs: 1_000,
    queryTimeoutMs: 120_000,
    log: silentLog,
    clock: systemClock,
  })
  for (const seed of Object.values(SEEDS)) await database.query(seed)
  await database.query('vacuum (analyze)')
})
afterAll(async () => {
  await database?.close()
  await postgres?.stop()
  await place?.remove()
})

const UNDONE = new Error('undone')

/** Runs the call in a transaction that is undone, and gives what of it would read a large table as a whole. */
async function examine(call: (database: Database) => Promise<unknown>): Promise<PlannedQueries> {
  let planned = new PlannedQueries(database, SMALL)
  const work = database.transaction(async (transaction) => {
    planned = new PlannedQueries(transaction, SMALL)
    await call(within(planned))
    throw UNDONE
  })
  await work.catch((reason) => {
    if (reason !== UNDONE) throw reason
  })
  return planned
}

/** A database for a function that opens a transaction: here it is in one already. */
function within(queries: Queries): Database {
  return {
    query: (sql, values) => queries.query(sql, values),
    transaction: (work) => work(queries),
    listen: () => Promise.reject(new Error('nothing to listen to in a transaction')),
    close: async () => {},
  }
}

describe('every statement finds its rows by an index', () => {
  test.each(Object.entries(CALLS))('%s', async (_name, call) => {
    const { recorded, scans } = await examine(call)
    expect(recorded.length).toBeGreaterThan(0)
    expect(scans).toEqual([])
  })
})

test('a statement without an index is noticed, by its values and without them', async () => {
  const { scans } = await examine((one) => one.query('select from api_keys where name = $1', ['Key 7']))
  expect(scans.map(({ table }) => table)).toEqual(['api_keys', 'api_keys'])
  const { scans: without } = await examine((one) =>
    one.query("update projects set name = 'x' where name = 'Project 7'"),
  )
  expect(without.map(({ table }) => table)).toEqual(['projects'])
})

test('every table is seeded, or small for a reason', async () => {
  const rows = await database.query<{ name: string }>(
    `select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
       and not relispartition and not exists (
         select from pg_depend where objid = pg_class.oid and deptype = 'e')`,
  )
  const known = new Set([...Object.keys(SEEDS), ...SMALL])
  expect(rows.map(({ name }) => name).filter((name) => !known.has(name))).toEqual([])
})

/** What asks the database, but no table that grows. */
const NO_TABLES = [
  'auth/service.ts',
  'storage/database-doctor.ts',
  'storage/database.ts',
  'storage/doctor/',
  'storage/extensions.ts',
  'storage/instance-lock.ts',
  'storage/listener.ts',
  'storage/migrate.ts',
  'storage/pending-migrations.ts',
  'storage/slow-statements.ts',
]

test('every module that asks the database is examined', async () => {
  const source = join(import.meta.dirname, '..', '..', '..', 'src')
  const names = await readdir(source, { recursive: true })
  const asking = names.filter(
    (name) => name.endsWith('.ts') && /\.query(<|\()/.test(readFileSync(join(source, name), 'utf8')),
  )
  const examined = Object.keys(MODULES).map((name) => `storage/${name}.ts`)
  const known = [...NO_TABLES, ...examined]
  expect(asking.filter((name) => !known.some((one) => name.startsWith(one)))).toEqual([])
})

test('every function that asks the database is examined', () => {
  const functions = Object.values(MODULES).flatMap((module) =>
    Object.entries(module).flatMap(([name, value]) => (typeof value === 'function' ? [name] : [])),
  )
  expect(functions.filter((name) => !(name in CALLS))).toEqual([])
})
