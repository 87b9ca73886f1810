import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ResponsesService } from '../../../src/auth/responses.ts'
import { startResponsesUpkeep } from '../../../src/auth/responses-upkeep.ts'
import { authRoutes } from '../../../src/auth/rpc.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { AuthRpcClient } from '../../../src/contracts/auth-rpc-client.ts'
import type { SavedResponse } from '../../../src/contracts/responses-store.ts'
import { inMemory } from '../../../src/contracts/rpc-transport.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { removeExpiredResponses } from '../../../src/storage/responses.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 20_000, log: silentLog, clock: systemClock }
const RETENTION_MS = 30 * 86_400_000
const OURS = { organisationId: 'org_default', projectId: 'proj_default' }
const OTHERS = [
  { organisationId: 'org_default', projectId: 'proj_other' },
  { organisationId: 'org_other', projectId: 'proj_default' },
]

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
let running: RunningAuth
let client: AuthRpcClient
beforeAll(async () => {
  place = await DatabasePlace.make()
  postgres = await place.start()
  running = await startAuth({
    connection: postgres.connection,
    pepperFile: join(place.root, 'pepper'),
    config: authSettings,
    usageRetentionMs: 400 * 86_400_000,
    responsesRetentionMs: RETENTION_MS,
    kpis: noKpis,
    ...limits,
  })
  database = openDatabase(postgres.connection, limits)
  const transport = inMemory(authRoutes({ ...running, log: silentLog }))
  client = new AuthRpcClient({ transport, timeoutMs: 5_000, clock: systemClock, log: silentLog })
})
afterAll(async () => {
  await client?.stop()
  await Promise.all([running?.stop(), database?.close()])
  await postgres?.stop()
  await place?.remove()
})
beforeEach(() => acrossOrganisations(database, (queries) => queries.query('truncate responses')))

function response(id: string, change: Partial<SavedResponse> = {}): SavedResponse {
  return {
    ...OURS,
    id,
    actor: 'key:k',
    previousId: undefined,
    status: 'completed',
    model: 'm',
    background: false,
    createdAtMs: 1_700_000_000_000,
    input: JSON.stringify([{ type: 'message', id: `${id}-asked` }]),
    output: JSON.stringify([{ type: 'message', id: `${id}-said` }]),
    response: JSON.stringify({ id }),
    leaseMs: undefined,
    ...change,
  }
}

describe.each([
  ['itself', () => running.responses],
  ['over RPC', () => client.responses],
] as const)('the store %s', (_name, open) => {
  test('gives back to the letter what it was given, until it is removed', async () => {
    const store = open()
    const hostile = JSON.stringify(['\u0000', '\ud800', "'; drop table responses; --", '\u202e', '🙂'])
    const given = response('r1', {
      input: hostile,
      output: hostile,
      previousId: 'r0',
      background: true,
      leaseMs: 60_000,
      status: 'queued',
    })
    await store.insert(given)
    const { leaseMs: _, ...kept } = given
    expect(await store.find({ ...OURS, id: 'r1' })).toEqual({ ...kept, abandoned: false })
    const ended = response('r1', { previousId: 'r0', background: true, response: '{"a":1}' })
    expect(await store.update(ended)).toBe(true)
    expect(await store.find({ ...OURS, id: 'r1' })).toMatchObject({
      status: 'completed',
      // What was asked does not change.
      input: hostile,
      output: ended.output,
      response: '{"a":1}',
    })
    expect(await store.remove({ ...OURS, id: 'r1' })).toBe(true)
    expect(await store.remove({ ...OURS, id: 'r1' })).toBe(false)
    expect(await store.update(ended)).toBe(false)
    expect(await store.find({ ...OURS, id: 'r1' })).toBeUndefined()
  })

  test('follows a conversation back, the oldest first, and says where it breaks', async () => {
    const store = open()
    for (const [id, previousId] of [
      ['r1', undefined],
      ['r2', 'r1'],
      ['r3', 'r2'],
    ] as const)
      await store.insert(response(id, { previousId }))
    const { links, extent } = await store.chain({ ...OURS, id: 'r3' })
    expect([links.map(({ id }) => id), extent]).toEqual([['r1', 'r2', 'r3'], 'whole'])
    expect(links[0]).toMatchObject({
      status: 'completed',
      input: response('r1').input,
      output: response('r1').output,
    })
    await store.remove({ ...OURS, id: 'r1' })
    expect(await store.chain({ ...OURS, id: 'r3' })).toMatchObject({ extent: 'broken' })
    expect(await store.chain({ ...OURS, id: 'r9' })).toEqual({ links: [], extent: 'whole' })
  })

  test.each(OTHERS)('does not know it for %j', async (other) => {
    const store = open()
    await store.insert(response('r1', { leaseMs: 1_000, status: 'queued' }))
    const key = { ...other, id: 'r1' }
    expect(await store.find(key)).toBeUndefined()
    expect(await store.chain(key)).toEqual({ links: [], extent: 'whole' })
    expect(await store.update(response('r1', other))).toBe(false)
    expect(await store.remove(key)).toBe(false)
    // A conversation that leads into another project breaks there.
    await store.insert(response('r2', { ...other, previousId: 'r1' }))
    expect(await store.chain({ ...other, id: 'r2' })).toMatchObject({
      extent: 'broken',
      links: [{ id: 'r2' }],
    })
    expect(await store.find({ ...OURS, id: 'r1' })).toMatchObject({ status: 'queued' })
  })
})

test.each(['in the background', 'in the foreground'])(
  'a gateway that lost a response %s to another does not undo the end that the other gave it',
  async (where) => {
    const store = running.responses
    const say = async (change: Partial<SavedResponse>) =>
      where === 'in the background'
        ? store.update(response('r1', change))
        : store.insert(response('r1', change))
    const status = async () => (await store.find({ ...OURS, id: 'r1' }))?.status
    if (where === 'in the background')
      await store.insert(response('r1', { status: 'in_progress', leaseMs: 60_000 }))
    await say({ status: 'failed' })
    expect(await status()).toBe('failed')
    await say({ status: 'completed' })
    expect(await status()).toBe('completed')
    await say({ status: 'failed', output: '[]' })
    await say({ status: 'in_progress', leaseMs: 60_000 })
    expect(await store.find({ ...OURS, id: 'r1' })).toMatchObject({
      status: 'completed',
      output: response('r1').output,
      abandoned: false,
    })
  },
)

test('without a transaction that says for whom it speaks, the table is empty', async () => {
  await running.responses.insert(response('r1'))
  expect(await database.query('select from responses')).toEqual([])
})

/** Each continues the one before it. */
function insert(prefix: string, count: number, { sizeBytes = 4, expiresAt = '2100-01-01' } = {}) {
  return acrossOrganisations(database, (queries) =>
    queries.query(
      `insert into responses (id, organisation_id, project_id, actor, previous_id, status, model, background, input,
         output, response, size_bytes, created_at, expires_at)
       select $1 || n, $2, $3, 'a', case when n > 1 then $1 || n - 1 end, 'completed', 'm', false, '[]', '[]', '{}',
         $5, now(), $6
       from generate_series(1, $4::int) n`,
      [prefix, OURS.organisationId, OURS.projectId, count, sizeBytes, expiresAt],
    ),
  )
}

test('a conversation of a thousand responses is read; of a longer one, or one of too much text, it is said', async () => {
  await insert('a', 1_001)
  const chain = (id: string) => running.responses.chain({ ...OURS, id })
  expect(await chain('a1000')).toMatchObject({ extent: 'whole' })
  expect((await chain('a1000')).links).toHaveLength(1_000)
  expect(await chain('a1001')).toMatchObject({ extent: 'long' })
  await insert('b', 20, { sizeBytes: 2 ** 20 })
  expect(await chain('b16')).toMatchObject({ extent: 'whole' })
  const { links, extent } = await chain('b20')
  expect([links.length, extent]).toEqual([17, 'long'])
})

test('one whose gateway falls silent is abandoned, until it is heard again; one that has ended never', async () => {
  const clock = new ManualClock(systemClock.now())
  const store = new ResponsesService({ database, clock, retentionMs: RETENTION_MS })
  await store.insert(response('r1', { status: 'in_progress', leaseMs: 60_000 }))
  await store.insert(response('r2'))
  const abandoned = async (id: string) => (await store.find({ ...OURS, id }))?.abandoned
  clock.advance(59_000)
  expect(await abandoned('r1')).toBe(false)
  await store.renew(['r1', 'r2'], 60_000)
  clock.advance(59_000)
  expect(await abandoned('r1')).toBe(false)
  clock.advance(2_000)
  expect([await abandoned('r1'), await abandoned('r2')]).toEqual([true, false])
  await store.renew(['r1'], 60_000)
  expect(await abandoned('r1')).toBe(false)
})

test('a response whose time is over is not found, breaks its conversation, and is removed', async () => {
  const clock = new ManualClock(systemClock.now())
  const store = new ResponsesService({ database, clock, retentionMs: RETENTION_MS })
  await store.insert(response('r1'))
  clock.advance(RETENTION_MS / 2)
  await store.insert(response('r2', { previousId: 'r1' }))
  clock.advance(RETENTION_MS / 2)
  expect(await store.find({ ...OURS, id: 'r1' })).toBeUndefined()
  expect(await store.chain({ ...OURS, id: 'r2' })).toMatchObject({ extent: 'broken' })
  clock.advance(RETENTION_MS / 2 - 1_000)
  const upkeep = await startResponsesUpkeep({ database, clock, log: silentLog })
  const left = () =>
    acrossOrganisations(database, (queries) => queries.query<{ id: string }>('select id from responses'))
  expect(await left()).toEqual([{ id: 'r2' }])
  clock.advance(3_600_000)
  await expect.poll(left).toEqual([])
  await upkeep.stop()
})

test('however many responses have expired, each statement removes some and the upkeep all of them', async () => {
  await insert('old', 2_500, { expiresAt: '2001-01-01' })
  await insert('new', 1)
  const clock = new ManualClock(systemClock.now())
  const removed = await acrossOrganisations(database, (queries) =>
    removeExpiredResponses(queries, clock.now()),
  )
  expect(removed).toBe(1_000)
  const upkeep = await startResponsesUpkeep({ database, clock, log: silentLog })
  await upkeep.stop()
  const left = await acrossOrganisations(database, (queries) => queries.query('select id from responses'))
  expect(left).toEqual([{ id: 'new1' }])
})
