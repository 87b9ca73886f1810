import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { UsageService } from '../src/auth/usage.ts'
import type { UsageRecord } from '../src/contracts/usage.ts'
import { silentLog } from '../src/core/log.ts'
import { seededRandom } from '../src/core/random.ts'
import { UsageDelivery } from '../src/gateway/usage/delivery.ts'
import { Spool } from '../src/gateway/usage/spool.ts'
import { type Database, openDatabase } from '../src/storage/database.ts'
import { startEmbeddedPostgres } from '../src/storage/embedded-postgres.ts'
import { migrate } from '../src/storage/migrate.ts'
import { acrossOrganisations } from '../src/storage/tenancy.ts'
import { keepUsagePartitions } from '../src/storage/usage-partitions.ts'
import { systemClock } from '../src/system.ts'
import { copyIn } from './copy-in.ts'
import {
  type Benchmark,
  type BenchOptions,
  type BenchResult,
  goal,
  median,
  table,
  versionsOf,
} from './report.ts'

const RESERVED_BYTES = 1_024
const COPY_CHUNK_ROWS = 500

/** What it costs to keep a record of each request. */
export const usage: Benchmark = {
  summary: 'usage records per second through spool and delivery, against a bare COPY of the same rows',
  run: async (options) => {
    const place = await startPlace(options)
    try {
      return result(await measure(place, options), options)
    } finally {
      await place.stop()
    }
  },
}

interface Place {
  readonly directory: string
  readonly database: Database
  readonly client: pg.Client
  stop(): Promise<void>
}

interface Round {
  readonly round: number
  readonly records: number
  /** From the first append to the last record's commit. */
  readonly spoolPerSecond: number
  readonly copyPerSecond: number
  readonly ratio: number
  /** What a request itself waits for. */
  readonly appendMicroseconds: number
}

async function startPlace({ say }: BenchOptions): Promise<Place> {
  say('starting PostgreSQL')
  const directory = mkdtempSync(join(tmpdir(), 'helixflow-bench-'))
  // As root, the database runs as another user, who has to pass here.
  chmodSync(directory, 0o711)
  const common = { log: silentLog, clock: systemClock }
  const folders = { directory: join(directory, 'postgres'), runtimeDirectory: join(directory, 'run') }
  const postgres = await startEmbeddedPostgres({ ...folders, ...common })
  const { connection } = postgres
  await migrate({ connection, ...common })
  const database = openDatabase(connection, { acquireTimeoutMs: 5_000, queryTimeoutMs: 60_000, ...common })
  await keepUsagePartitions(database, { nowMs: Date.now(), retentionMs: 400 * 86_400_000, log: silentLog })
  // The checkpoint between two rounds is for superusers alone.
  const client = new pg.Client({ ...postgres.superuser, port: 5432, ssl: false })
  await client.connect()
  await client.query('create table copied (like usage_records including constraints including indexes)')
  const stop = async () => {
    await client.end()
    await database.close()
    await postgres.stop()
    rmSync(directory, { recursive: true, force: true })
  }
  return { directory, database, client, stop }
}

async function measure(place: Place, { quick, say }: BenchOptions): Promise<Round[]> {
  const count = quick ? 20_000 : 50_000
  const rounds: Round[] = []
  for (let round = 0; round <= (quick ? 3 : 7); round++) {
    say(round === 0 ? 'warming up' : `round ${round}`)
    const records = recordsOf(round, count)
    await acrossOrganisations(place.database, (queries) =>
      queries.query('truncate usage_records, usage_hourly, spend_daily'),
    )
    await place.client.query('truncate copied; checkpoint')
    // In turn first and second, so that what the first leaves to do disturbs both alike.
    const copyFirst = round % 2 === 0
    const early = copyFirst ? await copied(place, records) : undefined
    const spooled = await throughSpool(place, records)
    const copySeconds = early ?? (await copied(place, records))
    if (round === 0) continue
    const spoolPerSecond = count / spooled.seconds
    const copyPerSecond = count / copySeconds
    const ratio = spoolPerSecond / copyPerSecond
    rounds.push({
      round,
      records: count,
      spoolPerSecond,
      copyPerSecond,
      ratio,
      appendMicroseconds: spooled.appendMicroseconds,
    })
  }
  return rounds
}

async function throughSpool(place: Place, records: readonly UsageRecord[]) {
  const options = { directory: join(place.directory, 'spool'), clock: systemClock, log: silentLog }
  const spool = new Spool({ ...options, bytesMax: 2 ** 28, token: 'bench' })
  const delivery = new UsageDelivery({ spool, sink: new UsageService(place.database), ...options })
  const startMs = performance.now()
  let appendMs = 0
  for (let at = 0; at < records.length; at += 100) {
    const sinceMs = performance.now()
    for (const record of records.slice(at, at + 100)) {
      if (!spool.reserve(RESERVED_BYTES)) throw new Error('the spool is full')
      spool.append(record, RESERVED_BYTES)
      delivery.notify()
    }
    appendMs += performance.now() - sinceMs
    await new Promise((resolve) => setImmediate(resolve))
  }
  while (spool.undeliveredBytes > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  const seconds = (performance.now() - startMs) / 1_000
  await delivery.stop()
  const counts = await acrossOrganisations(place.database, (queries) =>
    queries.query<{ rows: string; sums: string }>(
      'select (select count(*) from usage_records) as rows, (select sum(requests) from usage_hourly) as sums',
    ),
  )
  if (Number(counts[0]?.rows) !== records.length || Number(counts[0]?.sums) !== records.length)
    throw new Error(`${records.length} records, but ${JSON.stringify(counts[0])}`)
  return { seconds, appendMicroseconds: (1_000 * appendMs) / records.length }
}

async function copied({ client }: Place, records: readonly UsageRecord[]): Promise<number> {
  const startMs = performance.now()
  const chunks: Buffer[] = []
  for (let at = 0; at < records.length; at += COPY_CHUNK_ROWS)
    chunks.push(
      Buffer.from(
        records
          .slice(at, at + COPY_CHUNK_ROWS)
          .map(copyLine)
          .join(''),
      ),
    )
  await copyIn(client, `copy copied from stdin (null '-')`, chunks)
  return (performance.now() - startMs) / 1_000
}

function copyLine(one: UsageRecord): string {
  const startedAt = new Date(one.startedAtMs).toISOString()
  return `${one.organisationId}\t${startedAt}\t${one.requestId}\t${one.projectId}\t${one.keyId}\t${one.model}\t${one.route}\t${one.status}\t-\t${one.promptTokens}\t${one.completionTokens}\t${one.cachedTokens}\t${one.estimated}\t${one.streamed}\t${one.durationMs}\t-\t${one.instance}\t-\t${one.cost}\t-\t-\n`
}

/** As a gateway makes them: in the order of time, of some projects and models. */
function recordsOf(seed: number, count: number): UsageRecord[] {
  const random = seededRandom(seed)
  const startMs = Date.now() - count
  const digits = () =>
    Math.floor(random.uniform() * 2 ** 48)
      .toString(16)
      .padStart(12, '0')
  return Array.from({ length: count }, (_, at) => ({
    requestId: `req_${digits()}${digits()}`,
    startedAtMs: startMs + at,
    durationMs: Math.round(10_000 * random.uniform()) / 10,
    organisationId: `org_${at % 4}`,
    projectId: `proj_${at % 16}`,
    keyId: `key_${at % 64}`,
    model: `model-${at % 3}`,
    route: '/v1/chat/completions',
    status: 200,
    promptTokens: Math.floor(1_000 * random.uniform()),
    completionTokens: Math.floor(500 * random.uniform()),
    cachedTokens: 0,
    cost: Math.floor(1e6 * random.uniform()),
    estimated: false,
    streamed: at % 2 === 0,
    instance: 'bench',
  }))
}

function result(rounds: readonly Round[], { quick }: BenchOptions): BenchResult {
  const middle = (of: (one: Round) => number) => median(rounds.map(of))
  const summary = {
    spoolPerSecond: middle((one) => one.spoolPerSecond),
    copyPerSecond: middle((one) => one.copyPerSecond),
    ratio: middle((one) => one.ratio),
    appendMicroseconds: middle((one) => one.appendMicroseconds),
  }
  return {
    settings: { quick, records: rounds[0]?.records },
    versions: versionsOf('pg'),
    notes: [
      'Through the spool: append, read back, insert on conflict do nothing with the sums per hour, batch by batch, each its own commit.',
      'COPY: the same rows in one statement and one commit, into a table with the same indexes, without partitions and sums.',
      'Both times begin with the records as objects in memory and end with the last commit. Rows and sums were counted after each round.',
      'The time through the spool holds the half second for which delivery gathers the first batch.',
    ],
    goals: [
      goal(
        'records per second, ratio to COPY',
        { atLeast: 0.2 },
        rounds.map(({ ratio }) => ratio),
      ),
    ],
    summary,
    rounds,
    table: table(
      ['way', 'records/s', 'append, us'],
      [
        ['spool and delivery', summary.spoolPerSecond, summary.appendMicroseconds],
        ['bare COPY', summary.copyPerSecond, '-'],
      ],
    ),
  }
}
