import pg from 'pg'
import { silentLog } from '../src/core/log.ts'
import { openDatabase } from '../src/storage/database.ts'
import { systemClock } from '../src/system.ts'
import { startDatabase } from './database-place.ts'
import { type Benchmark, goal, median, rounded, table, versionsOf } from './report.ts'

const ROWS = 100_000
const CONNECTIONS = 20
const CALLERS = 32
const SELECT = 'select id, filler from bench_accounts where id = $1'

type Read = (id: number) => Promise<unknown>

/** What our pool, with its queue and its deadlines, leaves of bare `pg`. */
export const pool: Benchmark = {
  summary: 'point reads through our database layer, against bare pg',
  run: async ({ quick, say }) => {
    const place = await startDatabase()
    const database = openDatabase(place.connection, {
      connectionsMax: CONNECTIONS,
      acquireTimeoutMs: 2_000,
      queryTimeoutMs: 5_000,
      log: silentLog,
      clock: systemClock,
    })
    const bare = new pg.Pool({ ...place.connection, port: 5432, ssl: false, max: CONNECTIONS })
    say(`seeding ${ROWS} rows`)
    await database.query('create table bench_accounts (id integer primary key, filler text not null)')
    await database.query(
      `insert into bench_accounts select n, repeat('x', 80) from generate_series(1, $1::integer) n`,
      [ROWS],
    )
    const ways: Readonly<Record<'ours' | 'bare', Read>> = {
      ours: (id) => database.query(SELECT, [id]),
      bare: (id) => bare.query(SELECT, [id]),
    }
    const windowMs = quick ? 1_000 : 4_000
    for (const read of Object.values(ways)) await readsPerSecond(read, windowMs)
    const rounds: Round[] = []
    for (let round = 1; round <= (quick ? 3 : 9); round++) {
      say(`round ${round}`)
      // Whoever comes second may find the machine warmer: they take turns.
      const first = round % 2 === 1 ? await readsPerSecond(ways.bare, windowMs) : undefined
      const ours = await readsPerSecond(ways.ours, windowMs)
      const other = first ?? (await readsPerSecond(ways.bare, windowMs))
      rounds.push({ round, ours, bare: other, ratio: ours / other })
    }
    await Promise.all([database.close(), bare.end()])
    await place.stop()
    const of = (field: keyof Round) => rounded(median(rounds.map((one) => one[field])))
    return {
      settings: { quick, rows: ROWS, connections: CONNECTIONS, callers: CALLERS },
      versions: { ...versionsOf('pg'), postgresql: place.version },
      notes: ['Client and server share the machine; both ways use the same server and the same statement.'],
      goals: [
        goal(
          'reads/s, ratio to bare pg',
          { atLeast: 0.9 },
          rounds.map(({ ratio }) => ratio),
        ),
      ],
      summary: { oursPerSecond: of('ours'), barePerSecond: of('bare'), ratio: of('ratio') },
      rounds,
      table: table(['ours reads/s', 'bare reads/s', 'ratio'], [[of('ours'), of('bare'), of('ratio')]]),
    }
  },
}

interface Round {
  readonly round: number
  readonly ours: number
  readonly bare: number
  readonly ratio: number
}

async function readsPerSecond(read: Read, windowMs: number): Promise<number> {
  const startMs = performance.now()
  let reads = 0
  const caller = async (offset: number) => {
    for (let id = offset; performance.now() - startMs < windowMs; id += 7_919) {
      await read((id % ROWS) + 1)
      reads += 1
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, (_, index) => caller(index * 3_001)))
  return (1_000 * reads) / (performance.now() - startMs)
}
