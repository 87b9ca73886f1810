import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { authRoutes } from '../../../src/auth/rpc.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { VectorsService } from '../../../src/auth/vectors.ts'
import { startVectorsUpkeep } from '../../../src/auth/vectors-upkeep.ts'
import { ExactIndex } from '../../../src/cache/semantic/exact-index.ts'
import { StoredIndex } from '../../../src/cache/semantic/stored-index.ts'
import type { VectorIndex } from '../../../src/cache/semantic/vector-index.ts'
import { AuthRpcClient } from '../../../src/contracts/auth-rpc-client.ts'
import { inMemory } from '../../../src/contracts/rpc-transport.ts'
import type { VectorStore } from '../../../src/contracts/vector-store.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { listTables } from '../../../src/storage/backup/content-digest.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import { examineDatabase } from '../../../src/storage/database-doctor.ts'
import { acrossOrganisations, inOrganisation } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { CachingBench } from '../../support/caching-bench.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { findPgvector } from '../../support/pgvector.ts'
import { PostgresServer } from '../../support/postgres-server.ts'
import { chatAnswer, sendWhole } from '../../support/scripted-upstream.ts'

interface Limits {
  readonly entriesMax: number
  readonly clock: ManualClock
}

const P = { tenant: 'org_a', partition: 'p' }
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const BEST = { threshold: -1, limit: 1 }
const vector = (...numbers: number[]) => Float32Array.from(numbers)
const keep = (key: string, ...numbers: number[]) => ({ key, vector: vector(...numbers), keepMs: DAY_MS })

/** What every index holds to. */
function describeIndex(name: string, create: (limits: Limits) => VectorIndex): void {
  describe(`the index ${name}`, () => {
    let clock: ManualClock
    let index: VectorIndex
    beforeEach(() => {
      clock = new ManualClock(systemClock.now())
      index = create({ entriesMax: 100, clock })
    })
    const best = async (near: Float32Array, threshold: number, place = P) =>
      (await index.nearest(place, near, { threshold, limit: 1 }))[0]

    test('finds the most similar by its direction, and none below the threshold', async () => {
      await index.add(P, keep('right', 1, 0))
      await index.add(P, keep('up', 0, 5))
      expect(await best(vector(3, 1), 0.9)).toMatchObject({ key: 'right' })
      expect((await best(vector(3, 1), 0.9))?.similarity).toBeCloseTo(3 / Math.sqrt(10), 5)
      expect(await best(vector(3, 1), 0.95)).toBeUndefined()
      expect(await best(vector(0, 0.1), 0.99)).toMatchObject({ key: 'up' })
    })

    test('gives as many as are wanted, the most similar first', async () => {
      for (let at = 1; at <= 9; at++) await index.add(P, keep(`k${at}`, 1, at))
      const near = await index.nearest(P, vector(1, 0), { threshold: 0.2, limit: 3 })
      expect(near.map(({ key }) => key)).toEqual(['k1', 'k2', 'k3'])
      const all = await index.nearest(P, vector(1, 0), { threshold: 0.2, limit: 64 })
      expect(all.map(({ key }) => key)).toEqual(['k1', 'k2', 'k3', 'k4'])
    })

    test('agrees with the cosine of random vectors', async () => {
      const random = seededRandom(61)
      const one = () => vector(...Array.from({ length: 384 }, () => random.uniform() - 0.5))
      const kept = Array.from({ length: 50 }, (_, at) => ({ key: `k${at}`, vector: one(), keepMs: DAY_MS }))
      for (const each of kept) await index.add(P, each)
      const wanted = one()
      const expected = kept
        .map(({ key, vector: other }) => ({ key, similarity: cosine(wanted, other) }))
        .sort((a, b) => b.similarity - a.similarity)
      const near = await index.nearest(P, wanted, { threshold: -1, limit: 50 })
      expect(near.map(({ key }) => key)).toEqual(expected.map(({ key }) => key))
      for (const [at, { similarity }] of near.entries())
        expect(similarity).toBeCloseTo(expected[at]?.similarity ?? 9, 5)
    })

    test('never looks into another partition or at another tenant, however like it is', async () => {
      const random = seededRandom(58)
      for (let at = 0; at < 40; at++) {
        const one = vector(...Array.from({ length: 8 }, () => random.uniform() - 0.5))
        const mine = { tenant: `org_${at}`, partition: 'p' }
        await index.add(mine, { key: `key-${at}`, vector: one, keepMs: DAY_MS })
        expect(await best(one, 0.99, mine)).toMatchObject({ key: `key-${at}` })
        for (const other of [
          { tenant: `org_${at + 1}`, partition: 'p' },
          { tenant: `org_${at}`, partition: 'q' },
        ])
          expect(await best(one, -1, other)).toBeUndefined()
      }
    })

    test('forgets what is removed, and only for who owns it, and keeps one vector for a key', async () => {
      await index.add(P, keep('k', 1, 0))
      await index.add(P, keep('k', 0, 1))
      expect(await best(vector(1, 0), 0.9)).toBeUndefined()
      await index.remove({ ...P, tenant: 'org_b' }, ['k'])
      await index.remove({ ...P, partition: 'q' }, ['k'])
      expect(await best(vector(0, 1), 0.9)).toMatchObject({ key: 'k' })
      await index.remove(P, ['k', 'unknown'])
      expect(await best(vector(0, 1), 0.9)).toBeUndefined()
    })

    test('finds nothing by what has no direction, nor among vectors of another length', async () => {
      for (const one of [vector(0, 0), vector(Number.NaN, 1), vector(Number.POSITIVE_INFINITY), vector()]) {
        await index.add(P, { key: 'odd', vector: one, keepMs: DAY_MS })
        expect(await best(one, -1)).toBeUndefined()
      }
      await index.add(P, keep('k', 1, 0))
      await index.add(P, keep('l', 1, 0, 0, 0))
      expect(await best(vector(1, 0, 0), -1)).toBeUndefined()
      expect(await best(vector(1, 0), -1)).toMatchObject({ key: 'k' })
    })

    test('finds nothing whose time is over, and what was added again has its time again', async () => {
      await index.add(P, keep('k', 1, 0))
      await index.add(P, keep('l', 1, 0.1))
      clock.advance(DAY_MS / 2)
      await index.add(P, keep('l', 1, 0.1))
      clock.advance(DAY_MS / 2)
      const near = await index.nearest(P, vector(1, 0), { threshold: -1, limit: 9 })
      expect(near.map(({ key }) => key)).toEqual(['l'])
    })

    test('is bounded: the oldest of a partition makes room, and of no other', async () => {
      index = create({ entriesMax: 2, clock })
      await index.add({ ...P, partition: 'q' }, keep('other', 1, 0))
      for (const name of ['a', 'b', 'c', 'b', 'd']) await index.add(P, keep(name, 1, name.charCodeAt(0)))
      const near = await index.nearest(P, vector(1, 0), { threshold: -1, limit: 9 })
      expect(near.map(({ key }) => key)).toEqual(['b', 'd'])
      expect(await best(vector(1, 0), 0.9, { ...P, partition: 'q' })).toMatchObject({ key: 'other' })
    })
  })
}

function cosine(a: Float32Array, b: Float32Array): number {
  const product = (x: Float32Array, y: Float32Array) =>
    x.reduce((sum, one, at) => sum + one * (y[at] ?? 0), 0)
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b))
}

describeIndex('in memory', (limits) => new ExactIndex({ ...limits, bytesMax: 2 ** 20 }))

test('in memory, the partition that was asked for longest ago makes room for others', async () => {
  const index = new ExactIndex({ entriesMax: 9, bytesMax: 3 * 2 * 4, clock: systemClock })
  const at = (partition: string) => ({ ...P, partition })
  for (const name of ['p', 'q']) await index.add(at(name), keep(name, 1, 0))
  await index.nearest(at('p'), vector(1, 0), BEST)
  for (const name of ['r', 's']) await index.add(at('r'), keep(name, 1, 0))
  expect(index.bytes).toBe(3 * 2 * 4)
  const sizes = ['p', 'q', 'r'].map(
    async (one) => (await index.nearest(at(one), vector(1, 0), { threshold: -1, limit: 9 })).length,
  )
  expect(await Promise.all(sizes)).toEqual([1, 0, 2])
})

const pgvector = await findPgvector()
if ('programs' in pgvector)
  describe('pgvector', () => describePgvector(() => PostgresServer.start(pgvector.programs)))
else describe.skip(`pgvector (${pgvector.missing})`, () => test('is here', () => {}))

function describePgvector(start: () => Promise<PostgresServer>): void {
  const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 20_000, log: silentLog, clock: systemClock }
  let server: PostgresServer
  let home: string
  let running: RunningAuth
  let database: Database
  const clients: AuthRpcClient[] = []
  const startService = () =>
    startAuth({
      connection: server.url,
      pepperFile: join(home, 'pepper'),
      config: authSettings,
      usageRetentionMs: DAY_MS,
      responsesRetentionMs: DAY_MS,
      kpis: noKpis,
      ...limits,
    })
  beforeAll(async () => {
    server = await start()
    home = mkdtempSync(join(tmpdir(), 'helixflow-test-'))
    await server.administer('create extension vector')
    running = await startService()
    database = openDatabase(server.url, limits)
  })
  afterAll(async () => {
    await Promise.all(clients.map((one) => one.stop()))
    await Promise.all([running?.stop(), database?.close()])
    await server?.stop()
    rmSync(home, { recursive: true, force: true })
  })
  beforeEach(() => acrossOrganisations(database, (queries) => queries.query('truncate semantic_vectors')))

  /** As a gateway sees it. */
  const overRpc = (vectors: VectorStore): VectorStore => {
    const transport = inMemory(authRoutes({ ...running, vectors, log: silentLog }))
    const client = new AuthRpcClient({ transport, timeoutMs: 5_000, clock: systemClock, log: silentLog })
    clients.push(client)
    return client.vectors
  }
  const service = ({ entriesMax, clock }: { entriesMax: number; clock: ManualClock | typeof systemClock }) =>
    new VectorsService({ database, clock, support: { with: 'pgvector' }, connectionsMax: 20, entriesMax })
  const indexOver = (store: VectorStore, timeoutMs = 5_000, log: Logger = silentLog) =>
    new StoredIndex({ store, timeoutMs, clock: systemClock, log })

  describeIndex('in the database', (asked) => indexOver(overRpc(service(asked))))

  test('the service says what it has, and what it keeps is there after its restart', async () => {
    expect(await overRpc(running.vectors).support()).toEqual({
      with: expect.stringMatching(/^pgvector 0\.\d/),
    })
    await indexOver(overRpc(running.vectors)).add(P, keep('k', 1, 0))
    await running.stop()
    running = await startService()
    const near = await indexOver(overRpc(running.vectors)).nearest(P, vector(1, 0), BEST)
    expect(near).toMatchObject([{ key: 'k', similarity: 1 }])
  })

  test.each<[string, object]>([
    ['no tenant', { organisationId: '' }],
    ['no partition', { partition: '' }],
    ['no numbers', { direction: vector() }],
    ['a number that is none', { direction: vector(Number.NaN, 1) }],
    ['more numbers than are kept', { direction: new Float32Array(16_001).fill(0.1) }],
    ['a tenant that is none', { organisationId: "org_a'; drop table semantic_vectors; --" }],
  ])('a question with %s is refused', async (_name, change) => {
    const store = overRpc(running.vectors)
    const query = { organisationId: 'org_a', partition: 'p', direction: vector(1, 0), threshold: 0, limit: 1 }
    expect(await store.nearest(query)).toEqual([])
    await expect(store.nearest({ ...query, ...change })).rejects.toMatchObject({
      code: expect.stringMatching(/^(invalid_value|not_found)$/),
    })
    await expect(store.add({ ...query, key: 'k', keepMs: 1_000, ...change })).rejects.toThrow()
    expect(await store.nearest({ ...query, partition: "'; drop table semantic_vectors; --" })).toEqual([])
  })

  test('without a transaction that says for whom it speaks, the table is empty; for another it is, too', async () => {
    await indexOver(running.vectors).add(P, keep('k', 1, 0))
    const select = 'select from semantic_vectors'
    expect(await database.query(select)).toEqual([])
    expect(await inOrganisation(database, 'org_b', (queries) => queries.query(select))).toEqual([])
    expect(await inOrganisation(database, 'org_a', (queries) => queries.query(select))).toHaveLength(1)
  })

  test('what is over goes each hour, and the oldest of a tenant that has too many', async () => {
    const clock = new ManualClock(systemClock.now())
    const store = service({ entriesMax: 100, clock })
    const index = indexOver(store)
    for (let at = 0; at < 6; at++)
      for (const tenant of ['org_a', 'org_b', 'org_c'])
        await index.add(
          { tenant, partition: `p${at % 2}` },
          { ...keep(`${tenant}${at}`, 1, 0), keepMs: tenant === 'org_c' ? 1_000 : HOUR_MS / 2 },
        )
    await index.remove({ tenant: 'org_b', partition: 'p1' }, ['org_b1', 'org_b3', 'org_b5'])
    const left = () =>
      acrossOrganisations(database, async (queries) =>
        (await queries.query<{ key: string }>('select key from semantic_vectors order by key')).map(
          ({ key }) => key,
        ),
      )
    clock.advance(2_000)
    const upkeep = await startVectorsUpkeep({ database, entriesMax: 4, clock, log: silentLog })
    expect(await left()).toEqual(['org_a2', 'org_a3', 'org_a4', 'org_a5', 'org_b0', 'org_b2', 'org_b4'])
    clock.advance(HOUR_MS)
    await expect.poll(left).toEqual([])
    await upkeep.stop()
  })

  test('a database that stands still costs a question its deadline once, and the answer is made', async () => {
    const told: string[] = []
    const log: Logger = { ...silentLog, warn: (event) => told.push(event) }
    const timeoutMs = 150
    const store = overRpc(running.vectors)
    let asked = 0
    const counting: VectorStore = {
      support: () => store.support(),
      nearest: (query) => {
        asked += 1
        return store.nearest(query)
      },
      add: (added) => store.add(added),
      remove: (place, keys) => store.remove(place, keys),
    }
    const index = indexOver(counting, timeoutMs, log)
    await index.add(P, keep('k', 1, 0))
    const semantic = { model: 'embedder', threshold: 0.9 }
    const bench = await CachingBench.start({ policy: { rules: [{ mode: 'always', semantic }] }, index })
    bench.upstream.play((call) => {
      const isChat = call.path !== '/v1/embeddings'
      const data = [{ index: 0, embedding: [1, 0] }]
      sendWhole(call, isChat ? chatAnswer('made') : JSON.stringify({ object: 'list', data, usage: {} }))
    })
    server.freeze()
    try {
      const times: number[] = []
      for (let at = 0; at < 20; at++) {
        const beganMs = performance.now()
        const { status, headers } = await bench.ask({ messages: [{ role: 'user', content: `q${at}` }] })
        times.push(performance.now() - beganMs)
        expect([status, headers['x-helixflow-cache']]).toEqual([200, 'miss'])
      }
      const elapsedMs = times.reduce((sum, one) => sum + one, 0)
      // One for each pause of a second that has passed.
      expect(asked).toBeGreaterThan(0)
      expect(asked).toBeLessThanOrEqual(1 + Math.ceil(elapsedMs / 1_000))
      // The database's own limits are 5 s and more.
      expect(Math.max(...times)).toBeLessThan(timeoutMs + 2_000)
      expect(told).toContain('the shared index of the semantic cache fails')
    } finally {
      server.thaw()
      await bench.stop()
    }
    await expect.poll(() => index.nearest(P, vector(1, 0), BEST)).toMatchObject([{ key: 'k' }])
  })

  test('a database that crashed has forgotten them, and keeps new ones; no backup looks into the table', async () => {
    const index = indexOver(overRpc(running.vectors))
    await index.add(P, keep('k', 1, 0))
    await server.kill()
    await server.launch()
    await expect
      .poll(async () => {
        await index.add(P, keep('l', 0, 1))
        return index.nearest(P, vector(1, 0.5), { threshold: -1, limit: 9 })
      })
      .toEqual([{ key: 'l', similarity: expect.closeTo(0.447, 3) }])
    const tables = await listTables(database)
    expect(tables.map(({ name }) => name)).toContain('public.api_keys')
    expect(tables.map(({ name }) => name)).not.toContain('public.semantic_vectors')
  })

  test('a server whose database has no extension starts, says so, and makes the table when it has', async () => {
    await server.administer('drop extension vector cascade')
    const told = async () =>
      (
        await examineDatabase(database, {
          connectionsMax: 1,
          memoryBytes: undefined,
          longTransactionMs: 1_000,
        })
      )
        .filter(({ name }) => name === 'vectors')
        .map(({ level, text, remedy }) => [level, text, remedy])
    const create = expect.stringContaining('create extension vector;')
    expect(await told()).toEqual([['advice', expect.stringContaining('not created'), create]])
    const without = await startService()
    expect(await without.vectors.support()).toEqual({ without: expect.stringContaining('not created') })
    await expect(
      without.vectors.remove({ organisationId: 'org_a', partition: 'p' }, []),
    ).rejects.toMatchObject({ code: 'not_implemented' })
    await without.stop()
    await server.administer('create extension vector')
    expect(await told()).toEqual([
      ['advice', expect.stringContaining('no table'), expect.stringContaining('Start HelixFlow again')],
    ])
    const starts = await Promise.all([startService(), startService(), startService()])
    for (const one of starts) expect(await one.vectors.support()).toHaveProperty('with')
    expect(await told()).toEqual([['ok', expect.stringMatching(/^pgvector 0/), undefined]])
    await indexOver(starts[0].vectors).add(P, keep('k', 1, 0))
    expect(await indexOver(starts[1].vectors).nearest(P, vector(1, 0), BEST)).toMatchObject([{ key: 'k' }])
    await Promise.all(starts.map((one) => one.stop()))
  })
}
