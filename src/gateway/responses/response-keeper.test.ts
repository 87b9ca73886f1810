import { expect, test } from 'vitest'
import type { Identity } from '../../contracts/auth.ts'
import { ResponseRequest } from '../../contracts/openai/responses.ts'
import type { ResponsesStore, SavedResponse } from '../../contracts/responses-store.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { silentLog } from '../../core/log.ts'
import { keptResponse, ResponseKeeper } from './response-keeper.ts'
import { newResponse } from './response-object.ts'

const identity: Identity = {
  actor: 'key:k',
  organisationId: 'org_1',
  projectId: 'proj_1',
  keyId: 'k',
  userId: undefined,
  rights: { organisation: [], projects: {} },
  models: undefined,
  ipRules: undefined,
  limits: [],
  expiresAtMs: undefined,
  subjects: [],
}

/** A store that remembers what was said to it, and can be away. */
class ToldStore implements ResponsesStore {
  readonly said: string[] = []
  readonly saved: SavedResponse[] = []
  isAway = false

  async insert(response: SavedResponse): Promise<void> {
    this.say(`insert ${response.status}`)
    this.saved.push(response)
  }

  async update(response: SavedResponse): Promise<boolean> {
    this.say(`update ${response.status}`)
    this.saved.push(response)
    return true
  }

  async remove(): Promise<boolean> {
    this.say('remove')
    return true
  }

  async renew(ids: readonly string[], leaseMs: number): Promise<void> {
    this.say(`renew ${ids.length} for ${leaseMs}`)
  }

  async find(): Promise<undefined> {}

  async chain() {
    return { links: [], extent: 'whole' as const }
  }

  private say(what: string): void {
    this.said.push(what)
    if (this.isAway) throw new HelixError('storage_unavailable', 'Away.')
  }
}

function keeping(body: object) {
  const clock = new ManualClock()
  const store = new ToldStore()
  const keeper = new ResponseKeeper({ store, jobs: { tell: () => {} }, clock, log: silentLog })
  const request = ResponseRequest.parse({ model: 'm', input: 'x', ...body })
  const response = newResponse(request, { id: `resp_${'0'.repeat(32)}`, createdAtMs: 5_000 })
  return { clock, store, keeper, response, record: keeper.record({ identity, input: [] }, response) }
}

/** Lets what was promised happen. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('one in the foreground is kept when it has ended, one that is not to be kept never', async () => {
  const { store, response, record } = keeping({})
  await record.open(response)
  record.progress(response)
  const done = { ...response, status: 'completed' as const }
  expect(await record.end(done)).toBe(done)
  expect(store.said).toEqual(['insert completed'])
  expect(store.saved[0]).toMatchObject({ actor: 'key:k', projectId: 'proj_1', leaseMs: undefined })
  const none = keeping({ store: false })
  await none.record.open(none.response)
  await none.record.end(none.response)
  expect(none.store.said).toEqual([])
})

test('an answer that cannot be kept is given all the same, and says that it is not kept', async () => {
  const { store, response, record } = keeping({})
  store.isAway = true
  expect(await record.end({ ...response, status: 'completed' })).toMatchObject({
    status: 'completed',
    store: false,
  })
})

test('one in the background is kept from its beginning, and answered for while it is made', async () => {
  const { clock, store, response, record } = keeping({ background: true })
  await record.open(response)
  record.progress({ ...response, status: 'in_progress' })
  clock.advance(15_000)
  await turn()
  clock.advance(15_000)
  await turn()
  await record.end({ ...response, status: 'completed' })
  clock.advance(60_000)
  await turn()
  expect(store.said).toEqual([
    'insert queued',
    'update in_progress',
    'renew 1 for 60000',
    'renew 1 for 60000',
    'update completed',
  ])
  expect(store.saved.map(({ leaseMs }) => leaseMs)).toEqual([60_000, 60_000, undefined])
})

test('a name that no model can have is kept as text that a database can hold', async () => {
  const { store, response, record } = keeping({ background: true, model: 'a\0b' })
  await record.open(response)
  expect(store.saved[0]?.model).toBe('a\ufffdb')
})

test('one in the background does not begin when it cannot be kept', async () => {
  const { store, response, record } = keeping({ background: true })
  store.isAway = true
  await expect(record.open(response)).rejects.toMatchObject({ code: 'storage_unavailable' })
})

test('an end that could not be kept is kept when the store is back, and answered for until then', async () => {
  const { clock, store, response, record } = keeping({ background: true })
  await record.open(response)
  store.isAway = true
  await record.end({ ...response, status: 'completed' })
  clock.advance(15_000)
  await turn()
  store.isAway = false
  clock.advance(15_000)
  await turn()
  expect(store.said).toEqual([
    'insert queued',
    'update completed',
    'update completed',
    'renew 1 for 60000',
    'update completed',
  ])
  expect(store.saved.at(-1)).toMatchObject({ status: 'completed', leaseMs: undefined })
})

test('a keeper that stops tries once more', async () => {
  const { store, keeper, response, record } = keeping({ background: true })
  await record.open(response)
  store.isAway = true
  await record.end({ ...response, status: 'failed' })
  store.isAway = false
  await keeper.stop()
  expect(store.said.at(-1)).toBe('update failed')
  expect(store.saved.at(-1)?.status).toBe('failed')
})

test('what a dead gateway left unfinished is told as failed', async () => {
  const { store, response, record } = keeping({ background: true, metadata: { a: 'b' } })
  await record.open(response)
  const [saved] = store.saved
  if (!saved) expect.unreachable()
  expect(keptResponse({ ...saved, abandoned: false })).toEqual(response)
  expect(keptResponse({ ...saved, abandoned: true })).toMatchObject({
    status: 'failed',
    error: { code: 'server_error' },
    metadata: { a: 'b' },
  })
})
