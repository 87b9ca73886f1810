import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase, type PostgresConnection } from '../../../src/storage/database.ts'
import { type DoctorFacts, examineDatabase, type Finding } from '../../../src/storage/database-doctor.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { ensureExtensions, findExtensions } from '../../../src/storage/extensions.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace } from './database-place.ts'

const GIB = 2 ** 30
const FACTS: DoctorFacts = { connectionsMax: 20, memoryBytes: undefined, longTransactionMs: 300_000 }

let place: DatabasePlace
let postgres: EmbeddedPostgres
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
})
afterAll(async () => {
  await postgres.stop()
  await place.remove()
})

/** Each test has a database of its own: what one breaks, no other sees. */
let connection: PostgresConnection
let database: Database
beforeEach(async () => {
  const name = `doctor_${randomUUID().replaceAll('-', '')}`
  await open(postgres.superuser).query(`create database ${name}`)
  connection = { ...postgres.superuser, database: name }
  await migrate({ connection, log: silentLog, clock: systemClock })
  database = open(connection)
  await ensureExtensions(database, silentLog)
})

const databases: Database[] = []
function open(to: PostgresConnection): Database {
  const options = { acquireTimeoutMs: 1_000, queryTimeoutMs: 20_000, log: silentLog, clock: systemClock }
  const opened = openDatabase(to, options)
  databases.push(opened)
  return opened
}
afterEach(async () => {
  for (const opened of databases.splice(0)) await opened.close()
})

async function findings(name: string, facts: Partial<DoctorFacts> = {}): Promise<readonly Finding[]> {
  const all = await examineDatabase(database, { ...FACTS, ...facts })
  return all.filter((finding) => finding.name === name)
}

async function ordinaryRole(): Promise<PostgresConnection> {
  const user = `ordinary_${randomUUID().replaceAll('-', '')}`
  const password = 'a password of the test'
  await database.query(`create role ${user} login password '${password}'`)
  await database.query(`grant all on all tables in schema public to ${user}`)
  return { ...connection, user, password }
}

async function changeSetting(name: string, value: string | undefined): Promise<void> {
  await database.query(
    value === undefined ? `alter system reset ${name}` : `alter system set ${name} = ${value}`,
  )
  await database.query('select pg_reload_conf()')
  // The server's processes read the file each in their time.
  const expected = value ?? 'on'
  await expect
    .poll(async () => (await database.query(`select current_setting('${name}') as is`))[0])
    .toEqual({ is: expected })
}

test('a fresh database has no problem, and nothing is left unexamined', async () => {
  const all = await examineDatabase(database, FACTS)
  expect(all.filter(({ level, name }) => level !== 'ok' && name !== 'role')).toEqual([])
  expect(all.filter(({ text }) => text.includes('could not be examined'))).toEqual([])
  expect(all.length).toBeGreaterThanOrEqual(16)
})

test('an ordinary role may examine everything that it needs to', async () => {
  database = open(await ordinaryRole())
  const all = await examineDatabase(database, FACTS)
  expect(all.filter(({ text }) => text.includes('could not be examined'))).toEqual([])
  expect(all.filter(({ level }) => level !== 'ok')).toEqual([])
})

describe('the role', () => {
  test('that is above row-level security is a problem where tables rely on it, and else an advice', async () => {
    expect(await findings('role')).toMatchObject([
      { level: 'problem', text: expect.stringContaining('tenants') },
    ])
    await database.query(`
      do $$ declare of_tenants text; begin
        for of_tenants in select oid::regclass::text from pg_class where relrowsecurity loop
          execute 'alter table ' || of_tenants || ' disable row level security';
        end loop;
      end $$`)
    expect(await findings('role')).toMatchObject([{ level: 'advice' }])
  })

  test('that owns tables whose security does not hold for owners is a problem', async () => {
    const ordinary = await ordinaryRole()
    await database.query(`alter table api_keys owner to ${ordinary.user}`)
    await database.query('alter table api_keys no force row level security')
    database = open(ordinary)
    expect(await findings('role')).toMatchObject([
      { level: 'problem', remedy: expect.stringContaining('force') },
    ])
    await database.query('alter table api_keys force row level security')
    expect(await findings('role')).toMatchObject([{ level: 'ok' }])
  })
})

describe('extensions', () => {
  test('that are missing are named, with what they are for and how they come', async () => {
    await database.query('drop extension pg_trgm cascade')
    expect(await findings('extensions')).toMatchObject([
      {
        level: 'advice',
        text: expect.stringMatching(/pg_trgm.*searching/),
        remedy: expect.stringContaining('create extension pg_trgm'),
      },
    ])
    await ensureExtensions(database, silentLog)
    expect(await findings('extensions')).toMatchObject([{ level: 'ok' }])
  })

  test('that a role may not create are logged, and the others are created', async () => {
    await database.query('drop extension pg_stat_statements, pg_trgm, btree_gin cascade')
    const ordinary = await ordinaryRole()
    await database.query(`grant create on database ${connection.database} to ${ordinary.user}`)
    const warnings: unknown[] = []
    const log: Logger = { ...silentLog, warn: (_event, fields) => warnings.push(fields?.['extension']) }
    await ensureExtensions(open(ordinary), log)
    expect(warnings).toEqual(['pg_stat_statements'])
    const states = await findExtensions(database)
    expect(states.filter(({ version }) => version === undefined).map(({ name }) => name)).toEqual([
      'pg_stat_statements',
    ])
  })

  test('are made once, from however many processes', async () => {
    await database.query('drop extension pg_stat_statements, pg_trgm, btree_gin cascade')
    await Promise.all(Array.from({ length: 8 }, () => ensureExtensions(open(connection), silentLog)))
    expect(await findings('extensions')).toMatchObject([{ level: 'ok' }])
  })
})

describe('settings', () => {
  test.each([
    ['full_page_writes', 'problem'],
    ['synchronous_commit', 'advice'],
  ] as const)('%s that is off is told as %s', async (name, level) => {
    await changeSetting(name, 'off')
    try {
      expect(await findings('durability')).toMatchObject([{ level, text: expect.stringContaining(name) }])
    } finally {
      await changeSetting(name, undefined)
    }
    expect(await findings('durability')).toMatchObject([{ level: 'ok' }])
  })

  test('autovacuum that is off is a problem', async () => {
    await changeSetting('autovacuum', 'off')
    try {
      expect(await findings('vacuum')).toMatchObject([{ level: 'problem' }])
    } finally {
      await changeSetting('autovacuum', undefined)
    }
  })

  test('another time zone than UTC is told', async () => {
    await database.query(`alter database ${connection.database} set timezone to 'Asia/Tokyo'`)
    database = open(connection)
    expect(await findings('time and text')).toMatchObject([
      { level: 'advice', text: expect.stringContaining('Asia/Tokyo') },
    ])
  })
})

describe('connections', () => {
  test('that all pools together may ask for must be there', async () => {
    expect(await findings('connections', { connectionsMax: 200 })).toMatchObject([{ level: 'ok' }])
    const channel = 'api_key_revoked'
    await database.listen(
      channel,
      () => {},
      () => {},
    )
    await open(connection).listen(
      channel,
      () => {},
      () => {},
    )
    expect(await findings('connections', { connectionsMax: 200 })).toMatchObject([
      {
        level: 'problem',
        text: expect.stringContaining('402 at most (2 processes'),
        remedy: expect.stringContaining('412'),
      },
    ])
  })

  test('are counted against the limit of the role and of the database', async () => {
    await database.query(`alter database ${connection.database} connection limit 15`)
    expect(await findings('connections')).toMatchObject([
      { level: 'problem', text: expect.stringContaining('of 15') },
    ])
  })
})

describe('memory', () => {
  test('says what 256 MiB for each of 200 connections would take', async () => {
    const [finding] = await findings('memory')
    expect(finding).toMatchObject({
      level: 'ok',
      text: expect.stringMatching(/256 MiB.*512 MiB would take 5\d\.\d GiB/),
    })
  })

  test('that is used badly on a large machine is an advice with the sizes that fit', async () => {
    await database.query(`alter database ${connection.database} set work_mem to '4MB'`)
    database = open(connection)
    expect(await findings('memory', { memoryBytes: 512 * GIB })).toMatchObject([
      { level: 'advice', remedy: expect.stringContaining('work_mem 256 MiB') },
    ])
  })

  test('that is not there for what is set is a problem', async () => {
    await database.query(`alter database ${connection.database} set work_mem to '256MB'`)
    database = open(connection)
    expect(await findings('memory', { memoryBytes: 16 * GIB })).toMatchObject([
      {
        level: 'problem',
        text: expect.stringMatching(/5\d\.\d GiB at worst with 200 connections, of 16 GiB/),
      },
    ])
  })
})

describe('the schema', () => {
  test('that is behind names the migrations that are missing', async () => {
    const [row] = await database.query<{ name: string }>(
      'delete from schema_migrations where number = (select max(number) from schema_migrations) returning name',
    )
    expect(await findings('schema')).toMatchObject([
      { level: 'problem', text: `${row?.name} is not applied.` },
    ])
  })

  test('of another version is a problem', async () => {
    await database.query("update schema_migrations set checksum = 'another' where number = 1")
    expect(await findings('schema')).toMatchObject([
      { level: 'problem', text: expect.stringContaining('another version') },
    ])
  })
})

describe('indexes', () => {
  test('that a foreign key needs and has not are named', async () => {
    await database.query('drop index api_keys_of_project')
    expect(await findings('foreign keys')).toMatchObject([
      { level: 'advice', remedy: 'create index concurrently on api_keys (organisation_id, project_id);' },
    ])
  })

  test('that were not built to their end are a problem', async () => {
    await database.query('create table twice (number integer)')
    await database.query('insert into twice values (1), (1)')
    await expect(database.query('create unique index concurrently once on twice (number)')).rejects.toThrow()
    expect(await findings('invalid indexes')).toMatchObject([
      { level: 'problem', remedy: 'reindex index concurrently once;' },
    ])
  })

  test('that nothing reads are named, and no longer when something does', async () => {
    await bigTable()
    await database.query('create index big_by_text on big (text)')
    await expect
      .poll(() => findings('unused indexes'))
      .toMatchObject([{ level: 'advice', text: expect.stringContaining('big_by_text') }])
    await database.transaction(async (transaction) => {
      await transaction.query('set local enable_seqscan = off')
      await transaction.query("select from big where text = 'x'")
    })
    await expect.poll(() => findings('unused indexes'), { timeout: 15_000 }).toMatchObject([{ level: 'ok' }])
  })

  test('that are missing show as a large table that is read as a whole again and again', async () => {
    await bigTable()
    for (let time = 0; time < 60; time++)
      await database.query('select count(*) from big where text = $1', ['x'])
    await expect
      .poll(() => findings('sequential scans'), { timeout: 15_000 })
      .toMatchObject([
        { level: 'advice', text: expect.stringMatching(/^big .* was read as a whole \d+ times/) },
      ])
  })
})

describe('rows', () => {
  test('that are dead and not removed are counted, and the room that they leave', async () => {
    await bigTable()
    await database.query('alter table big set (autovacuum_enabled = off)')
    await database.query('delete from big where number % 10 > 0')
    await expect
      .poll(() => findings('dead rows'), { timeout: 15_000 })
      .toMatchObject([{ level: 'advice', text: expect.stringMatching(/^big holds \d+ dead rows.*never/) }])
    await database.query('vacuum (analyze) big')
    await expect.poll(() => findings('dead rows'), { timeout: 15_000 }).toMatchObject([{ level: 'ok' }])
    expect(await findings('bloat')).toMatchObject([
      { level: 'advice', text: expect.stringMatching(/^big takes/) },
    ])
    await database.query('vacuum full big')
    expect(await findings('bloat')).toMatchObject([{ level: 'ok' }])
  })
})

describe('what runs', () => {
  test('a transaction that stays open is named, with what ends it', async () => {
    const facts = { longTransactionMs: 1 }
    await open(connection).transaction(async (transaction) => {
      const [row] = await transaction.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.01)')
      expect(await findings('transactions')).toMatchObject([{ level: 'ok' }])
      const found = await findings('transactions', facts)
      expect(found).toMatchObject([{ level: 'advice', remedy: `select pg_terminate_backend(${row?.pid});` }])
      expect(found[0]?.text).toContain('idle in transaction')
    })
    expect(await findings('transactions', facts)).toMatchObject([{ level: 'ok' }])
  })

  test('a replication slot that nobody uses is named', async () => {
    await database.query(`select pg_create_physical_replication_slot('left_behind', true)`)
    try {
      expect(await findings('replication')).toMatchObject([
        { level: 'advice', remedy: expect.stringContaining("pg_drop_replication_slot('left_behind')") },
      ])
    } finally {
      await database.query(`select pg_drop_replication_slot('left_behind')`)
    }
    expect(await findings('replication')).toMatchObject([{ level: 'ok', text: 'no replicas' }])
  })

  test('a server that is down is no list of findings', async () => {
    const away = open({ ...connection, host: '/nowhere' })
    await expect(examineDatabase(away, FACTS)).rejects.toMatchObject({ code: 'storage_unavailable' })
  })
})

async function bigTable(): Promise<void> {
  await database.query('create table big (number integer primary key, text text not null)')
  await database.query(
    "insert into big select n, md5(n::text) || repeat('x', 100) from generate_series(1, 200000) n",
  )
  await database.query('analyze big')
}
