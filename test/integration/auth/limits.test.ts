import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { authRoutes } from '../../../src/auth/rpc.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { callOperation } from '../../../src/contracts/administration/call.ts'
import type { OperationInput, OperationName } from '../../../src/contracts/administration/operations.ts'
import type { Caller, Identity } from '../../../src/contracts/auth.ts'
import { AuthRpcClient } from '../../../src/contracts/auth-rpc-client.ts'
import { type Role, rightsOf } from '../../../src/contracts/permissions.ts'
import { inMemory } from '../../../src/contracts/rpc-transport.ts'
import { silentLog } from '../../../src/core/log.ts'
import { CredentialCache } from '../../../src/gateway/credential-cache.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const PASSWORD = 'correct horse battery'

let place: DatabasePlace
let postgres: EmbeddedPostgres
let running: RunningAuth
let client: AuthRpcClient
let ours: Tenant
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  running = await startAuth({
    connection: postgres.connection,
    pepperFile: join(place.root, 'pepper'),
    config: authSettings,
    usageRetentionMs: 400 * 86_400_000,
    responsesRetentionMs: 30 * 86_400_000,
    kpis: noKpis,
    acquireTimeoutMs: 5_000,
    queryTimeoutMs: 5_000,
    log: silentLog,
    clock: systemClock,
  })
  const transport = inMemory(authRoutes({ ...running, log: silentLog }))
  client = new AuthRpcClient({ transport, timeoutMs: 5_000, clock: systemClock, log: silentLog })
})
afterAll(async () => {
  await client?.stop()
  await running?.stop()
  await postgres?.stop()
  await place?.remove()
})
beforeEach(async () => {
  ours = await makeTenant()
})

interface Tenant {
  readonly operator: Caller
  readonly organisationId: string
  readonly projectId: string
  readonly userId: string
  readonly email: string
  /** Of the user, in the project. */
  readonly key: { readonly id: string; readonly plaintext: string }
}

let tenants = 0

async function makeTenant(): Promise<Tenant> {
  const platform: Caller = { actor: 'operator', organisationId: 'org_default' }
  const { id: organisationId } = await call(platform, 'organisations.create', { name: `Tenant ${++tenants}` })
  const operator: Caller = { actor: 'operator', organisationId }
  const email = `user-${tenants}@example.com`
  const { data } = await call(operator, 'projects.list', {})
  const projectId = data[0]?.id ?? ''
  const person = { email, name: 'Somebody', role: 'developer', password: PASSWORD } as const
  const { id: userId } = await call(operator, 'users.create', person)
  const key = await call(operator, 'keys.create', { name: 'k', projectId, userId })
  return { operator, organisationId, projectId, userId, email, key }
}

function call<Name extends OperationName>(
  caller: Caller,
  operation: Name,
  input: Partial<OperationInput<Name>>,
) {
  return callOperation(client, caller, operation, input)
}

type SetInput = Partial<OperationInput<'limits.set'>>

const perMinute = (limit: number, change: SetInput = {}): SetInput => ({
  measure: 'requests',
  limit,
  window: '1m',
  ...change,
})

function set(input: SetInput, caller: Caller = ours.operator) {
  return call(caller, 'limits.set', input)
}

/** Somebody with that role in the whole organisation, or in its project alone. */
function somebody({ organisationId, projectId, userId }: Tenant, role: Role, onlyIn?: string): Identity {
  return {
    actor: `user:${userId}`,
    organisationId,
    projectId,
    keyId: undefined,
    userId,
    rights: rightsOf([{ role, projectId: onlyIn }]),
    models: undefined,
    ipRules: undefined,
    limits: [],
    expiresAtMs: undefined,
    subjects: [userId, organisationId, projectId],
  }
}

async function limitsOf(credential: string): Promise<Record<string, number>> {
  const { limits } = await client.verify(credential)
  return Object.fromEntries(limits.map(({ ruleId, amount }) => [ruleId, amount]))
}

describe('a rule', () => {
  test('is shown, listed and removed as it was set', async () => {
    const { organisationId, projectId, userId, key } = ours
    const money = await set({ measure: 'money', limit: '12.50', period: 'month', keyId: key.id, model: 'm' })
    expect(money).toEqual({
      id: expect.stringMatching(/^lim_\w{20}$/),
      keyId: key.id,
      measure: 'money',
      model: 'm',
      limit: '12.5',
      period: 'month',
      createdAt: expect.any(String),
    })
    const rate = await set(perMinute(100, { projectId, each: 'user', burst: 7, shapeMaxWait: '2s' }))
    expect(rate).toMatchObject({
      projectId,
      each: 'user',
      limit: 100,
      window: '1m',
      algorithm: 'token-bucket',
      burst: 7,
      shapeMaxWait: '2s',
    })
    const many = await set({ measure: 'concurrency', limit: 4, userId })
    const all = await set(perMinute(1_000, { measure: 'tokens', window: '24h', algorithm: 'sliding-window' }))
    expect(all).toMatchObject({ window: '1d', algorithm: 'sliding-window' })
    expect(await call(ours.operator, 'limits.show', { id: rate.id })).toEqual(rate)
    const listed = async (filter: Partial<OperationInput<'limits.list'>>) =>
      (await call(ours.operator, 'limits.list', filter)).data.map(({ id }) => id).sort()
    const ids = (...rules: { id: string }[]) => rules.map(({ id }) => id).sort()
    expect(await listed({})).toEqual(ids(money, rate, many, all))
    expect(await listed({ projectId })).toEqual(ids(money, rate))
    expect(await listed({ keyId: key.id })).toEqual(ids(money))
    expect(await listed({ userId })).toEqual(ids(many))
    expect(await listed({ model: 'm' })).toEqual(ids(money))
    expect(await listed({ measure: 'tokens' })).toEqual(ids(all))
    const first = await call(ours.operator, 'limits.list', { limit: 3 })
    const rest = await call(ours.operator, 'limits.list', { limit: 3, after: first.next ?? '' })
    expect(ids(...first.data, ...rest.data)).toEqual(ids(money, rate, many, all))
    expect(await call(ours.operator, 'limits.remove', { id: rate.id })).toEqual(rate)
    await expect(call(ours.operator, 'limits.show', { id: rate.id })).rejects.toMatchObject({
      code: 'not_found',
    })
    const { data } = await call(ours.operator, 'audit.search', { action: 'limits.remove' })
    expect(data).toMatchObject([{ target: rate.id, projectId, details: { limit: 100, burst: 7 } }])
    expect(organisationId).toBe(data[0]?.organisationId)
  })

  test('that is set again takes the place of the first and keeps its id', async () => {
    const first = await set(perMinute(10, { burst: 20 }))
    const again = await set(perMinute(30, { algorithm: 'fixed-window' }))
    expect(again.id).toBe(first.id)
    expect(again).toMatchObject({ limit: 30, algorithm: 'fixed-window', createdAt: first.createdAt })
    expect(again).not.toHaveProperty('burst')
    // Another window, model or holder is another rule.
    const others = [
      await set(perMinute(30, { window: '1h' })),
      await set(perMinute(30, { model: 'm' })),
      await set(perMinute(30, { each: 'key' })),
      await set(perMinute(30, { projectId: ours.projectId })),
    ]
    expect(new Set([first, ...others].map(({ id }) => id)).size).toBe(5)
    const races = await Promise.all(
      Array.from({ length: 10 }, (_, at) => set(perMinute(at + 1, { window: '1d' }))),
    )
    expect(new Set(races.map(({ id }) => id)).size).toBe(1)
  })

  test.each<[string, SetInput]>([
    ['window', { measure: 'requests', limit: 1 }],
    ['window', { measure: 'tokens', limit: 1, window: '999ms' }],
    ['window', { measure: 'tokens', limit: 1, window: '32d' }],
    ['window', { measure: 'tokens', limit: 1, window: '60' }],
    ['window', { measure: 'tokens', limit: 1, window: '1.0005s' }],
    ['window', { measure: 'money', limit: 1, period: 'day', window: '1d' }],
    ['window', { measure: 'concurrency', limit: 1, window: '1d' }],
    ['period', { measure: 'money', limit: 1 }],
    ['period', { measure: 'requests', limit: 1, window: '1m', period: 'day' }],
    ['burst', { measure: 'concurrency', limit: 1, burst: 1 }],
    ['burst', { measure: 'requests', limit: 1, window: '1m', burst: 0 }],
    ['burst', { measure: 'requests', limit: 1, window: '1m', burst: 2, algorithm: 'fixed-window' }],
    ['burst', { measure: 'requests', limit: 1, window: '31d', burst: 4_000_000 }],
    ['algorithm', { measure: 'money', limit: 1, period: 'day', algorithm: 'token-bucket' }],
    ['shapeMaxWait', { measure: 'money', limit: 1, period: 'day', shapeMaxWait: '1s' }],
    ['shapeMaxWait', { measure: 'concurrency', limit: 1, shapeMaxWait: '1s' }],
    ['shapeMaxWait', { measure: 'requests', limit: 1, window: '1m', shapeMaxWait: '11m' }],
    ['limit', { measure: 'requests', limit: 0, window: '1m' }],
    ['limit', { measure: 'requests', limit: -1, window: '1m' }],
    ['limit', { measure: 'requests', limit: 1.5, window: '1m' }],
    ['limit', { measure: 'requests', limit: 'many', window: '1m' }],
    ['limit', { measure: 'concurrency', limit: 1e17 }],
    ['limit', { measure: 'tokens', limit: 4_000_000, window: '31d' }],
    ['limit', { measure: 'money', limit: '0', period: 'day' }],
    ['limit', { measure: 'money', limit: '0.0000000001', period: 'day' }],
    ['limit', { measure: 'money', limit: 10_000_000, period: 'day' }],
    ['measure', { measure: 'wishes' as 'money', limit: 1 }],
  ])('whose fields do not go together is refused for %s: %j', async (param, input) => {
    await expect(set(input)).rejects.toMatchObject({ code: 'invalid_value', status: 400, param })
  })

  test('lies on one holder, and speaks of what is below it alone', async () => {
    const { projectId, userId, key } = ours
    await expect(set(perMinute(1, { projectId, keyId: key.id }))).rejects.toMatchObject({ param: 'keyId' })
    for (const on of [{ keyId: key.id }, { userId }])
      await expect(set(perMinute(1, { ...on, each: 'user' }))).rejects.toMatchObject({ param: 'each' })
    await expect(set(perMinute(1, { projectId, each: 'project' }))).rejects.toMatchObject({ param: 'each' })
    expect(await set(perMinute(1, { projectId, each: 'key' }))).toMatchObject({ each: 'key' })
  })

  test('of another tenant, or on what is theirs, is nowhere', async () => {
    const theirs = await makeTenant()
    const { id } = await set(perMinute(1, { keyId: theirs.key.id }), theirs.operator)
    const asking = [
      set(perMinute(1, { projectId: theirs.projectId })),
      set(perMinute(1, { keyId: theirs.key.id })),
      set(perMinute(1, { userId: theirs.userId })),
      call(ours.operator, 'limits.show', { id }),
      call(ours.operator, 'limits.remove', { id }),
      call(ours.operator, 'limits.effective', { keyId: theirs.key.id }),
      call(ours.operator, 'limits.effective', { userId: ours.userId, projectId: theirs.projectId }),
      call(ours.operator, 'limits.effective', { userId: theirs.userId, projectId: ours.projectId }),
    ]
    await Promise.all(
      asking.map((one) => expect(one).rejects.toMatchObject({ code: 'not_found', status: 404 })),
    )
    expect((await call(ours.operator, 'limits.list', { keyId: theirs.key.id })).data).toEqual([])
    expect(await limitsOf(theirs.key.plaintext)).toEqual({ [id]: 1 })
  })
})

describe('who may', () => {
  test('a project’s admin sets rules on the project and its keys, and touches nothing beyond', async () => {
    const admin = somebody(ours, 'admin', ours.projectId)
    const { projectId, userId, key } = ours
    const own = await set(perMinute(5, { projectId }), admin)
    await set(perMinute(5, { keyId: key.id }), admin)
    const beyond = await set(perMinute(100))
    const other = await call(ours.operator, 'projects.create', { name: 'Other' })
    const denied = { code: 'insufficient_permissions' }
    await expect(set(perMinute(1_000), admin)).rejects.toMatchObject(denied)
    await expect(set(perMinute(1, { userId }), admin)).rejects.toMatchObject(denied)
    await expect(call(admin, 'limits.remove', { id: beyond.id })).rejects.toMatchObject(denied)
    await expect(set(perMinute(1, { projectId: other.id }), admin)).rejects.toMatchObject({
      code: 'not_found',
    })
    const { data } = await call(admin, 'limits.list', {})
    expect(data.map(({ projectId: on, keyId }) => on ?? keyId).sort()).toEqual([projectId, key.id].sort())
    await expect(call(admin, 'limits.remove', { id: own.id })).resolves.toEqual(own)
  })

  test('a project’s admin makes a default of the organisation stricter, never looser', async () => {
    const admin = somebody(ours, 'admin', ours.projectId)
    const { projectId, key } = ours
    await set({ measure: 'money', limit: '100', period: 'month', each: 'project' })
    await set(perMinute(10, { each: 'key', burst: 20 }))
    const denied = { code: 'insufficient_permissions', param: 'limit' }
    const budget = (limit: string) => set({ measure: 'money', limit, period: 'month', projectId }, admin)
    await expect(budget('100.000000001')).rejects.toMatchObject(denied)
    await expect(budget('100')).resolves.toMatchObject({ limit: '100' })
    const rate = (limit: number, change: SetInput) =>
      set(perMinute(limit, { keyId: key.id, ...change }), admin)
    await expect(rate(11, {})).rejects.toMatchObject(denied)
    await expect(rate(10, { burst: 21 })).rejects.toMatchObject(denied)
    await expect(rate(10, { algorithm: 'fixed-window' })).rejects.toMatchObject(denied)
    await expect(set(perMinute(11, { projectId, each: 'key' }), admin)).rejects.toMatchObject(denied)
    await expect(rate(10, { algorithm: 'sliding-window' })).resolves.toMatchObject({ limit: 10 })
    await expect(rate(9, { burst: 20 })).resolves.toMatchObject({ limit: 9 })
    // What replaces nothing of the organisation's is theirs to choose.
    await expect(rate(1_000, { window: '1h' })).resolves.toMatchObject({ limit: 1_000 })
    await expect(set(perMinute(50, { keyId: key.id }))).resolves.toMatchObject({ limit: 50 })
  })

  test.each(['viewer', 'developer', 'billing'] as const)('a %s reads and does not write', async (role) => {
    const reader = somebody(ours, role, ours.projectId)
    const { id } = await set(perMinute(5, { projectId: ours.projectId }))
    expect((await call(reader, 'limits.show', { id })).id).toBe(id)
    const { data } = await call(reader, 'limits.effective', { keyId: ours.key.id })
    expect(data).toMatchObject([{ ruleId: id, subject: { kind: 'project', id: ours.projectId }, limit: 5 }])
    const writes = [
      call(reader, 'limits.remove', { id }),
      set(perMinute(1, { projectId: ours.projectId }), reader),
    ]
    const denied = { code: 'insufficient_permissions' }
    await Promise.all(writes.map((one) => expect(one).rejects.toMatchObject(denied)))
  })
})

describe('an identity', () => {
  test('of a key carries what binds it, the closest of each kind', async () => {
    const { operator, projectId, userId, key } = ours
    const plain = await call(operator, 'keys.create', { name: 'nobody’s', projectId })
    const all = await set(perMinute(1_000))
    const each = await set(perMinute(10, { each: 'key' }))
    const users = await set({ measure: 'concurrency', limit: 7, each: 'user' })
    const budget = await set({ measure: 'money', limit: '0.000000001', period: 'day', model: 'm', projectId })
    await set(perMinute(1, { keyId: plain.id, model: 'other' }))
    expect(await limitsOf(key.plaintext)).toEqual({
      [all.id]: 1_000,
      [each.id]: 10,
      [users.id]: 7,
      [budget.id]: 1,
    })
    const closer = await set(perMinute(99, { keyId: key.id }))
    const closerUser = await set({ measure: 'concurrency', limit: 2, userId })
    const { limits } = await client.verify(key.plaintext)
    expect(Object.fromEntries(limits.map(({ ruleId, subject }) => [ruleId, subject]))).toEqual({
      [all.id]: { kind: 'organisation', id: ours.organisationId },
      [closer.id]: { kind: 'key', id: key.id },
      [closerUser.id]: { kind: 'user', id: userId },
      [budget.id]: { kind: 'project', id: projectId },
    })
    expect(Object.keys(await limitsOf(plain.plaintext))).toContain(each.id)
    const { data } = await call(operator, 'limits.effective', { keyId: key.id })
    expect(data.map(({ ruleId }) => ruleId).sort()).toEqual(limits.map(({ ruleId }) => ruleId).sort())
  })

  test('of a login carries them too, with its project among what it depends on', async () => {
    const { operator, projectId, userId, email, organisationId } = ours
    const all = await set(perMinute(1_000, { burst: 5, shapeMaxWait: '250ms' }))
    const own = await set(perMinute(3, { userId, algorithm: 'sliding-window' }))
    const project = await set({ measure: 'output_tokens', limit: 9, window: '1s', projectId, model: 'm' })
    await set(perMinute(1, { keyId: ours.key.id }))
    const { accessToken } = await client.issueToken({ grantType: 'password', email, password: PASSWORD })
    const identity = await client.verify(accessToken)
    // As `sort` does it by itself, and not as a language would.
    const byId = (limits: Identity['limits']) => [...limits].sort((a, b) => (a.ruleId < b.ruleId ? -1 : 1))
    expect(byId(identity.limits).map(({ ruleId }) => ruleId)).toEqual(
      [all, own, project].map(({ id }) => id).sort(),
    )
    expect([...identity.subjects].sort()).toEqual(
      expect.arrayContaining([organisationId, projectId, userId].sort()),
    )
    // The wire adds and loses nothing.
    expect(byId(identity.limits)).toEqual(byId((await running.auth.verify(accessToken)).limits))
    const { data } = await call(operator, 'limits.effective', { userId, projectId })
    expect(data.map(({ ruleId }) => ruleId).sort()).toEqual(byId(identity.limits).map(({ ruleId }) => ruleId))
    const mine = await call(identity, 'limits.effective', {})
    expect(mine).toEqual({ data: expect.arrayContaining(data) })
    // A token that was made of a key is bound as the key is.
    const ofKey = await client.issueToken({ grantType: 'api_key', apiKey: ours.key.plaintext })
    expect((await client.verify(ofKey.accessToken)).limits).toEqual(
      (await client.verify(ours.key.plaintext)).limits,
    )
  })

  test('in a gateway’s cache learns of a rule that was set, changed or removed within two seconds', async () => {
    const { operator, projectId, userId, key, email } = ours
    const { accessToken } = await client.issueToken({ grantType: 'password', email, password: PASSWORD })
    const cache = new CredentialCache({
      auth: client,
      clock: systemClock,
      entriesMax: 100,
      ttlMs: 3_600_000,
      graceMs: 0,
    })
    const seen = async (credential: string) =>
      (await cache.identify(credential)).limits.map(({ amount }) => amount).sort()
    const soon = (credential: string, amounts: number[]) =>
      expect.poll(() => seen(credential), { timeout: 2_000, interval: 20 }).toEqual(amounts)
    const ended: string[] = []
    const unwatch = cache.hold(key.plaintext, await cache.identify(key.plaintext), (reason) =>
      ended.push(reason.code),
    )
    const holders = [{}, { projectId }, { userId }] as const
    for (const credential of [key.plaintext, accessToken]) {
      await soon(credential, [])
      for (const on of holders) {
        const { id } = await set({ measure: 'concurrency', limit: 5, ...on })
        await soon(credential, [5])
        await set({ measure: 'concurrency', limit: 6, ...on })
        await soon(credential, [6])
        await call(operator, 'limits.remove', { id })
        await soon(credential, [])
      }
    }
    await set({ measure: 'concurrency', limit: 8, keyId: key.id })
    await soon(key.plaintext, [8])
    // No request that ran was ended by any of it.
    expect(ended).toEqual([])
    unwatch()
    cache.stop()
  })
})

test('spend is read, reserved and given back over RPC as in the service itself', async () => {
  const { organisationId, key, projectId } = ours
  const model = 'm'
  const sinceMs = Date.UTC(2026, 0, 1)
  const budgets = [
    { subject: { kind: 'organisation', id: organisationId }, model: undefined, sinceMs },
    { subject: { kind: 'key', id: key.id }, model, sinceMs },
  ] as const
  const reserve = (requestId: string, amount: number) =>
    client.reserveSpend({
      organisationId,
      requestId,
      expiresAtMs: Date.now() + 60_000.5,
      claims: budgets.map((budget, at) => ({ ...budget, amount: at === 0 ? 1e12 : amount, cost: 5 })),
    })
  expect(await reserve('req_1', 9)).toBeUndefined()
  expect(await reserve('req_2', 9)).toBe(1)
  expect(await client.spent(organisationId, budgets)).toEqual([5, 5])
  await client.record([
    {
      requestId: 'req_1',
      startedAtMs: Date.UTC(2026, 0, 2),
      durationMs: 1,
      organisationId,
      projectId,
      keyId: key.id,
      model,
      route: '/v1/chat/completions',
      status: 200,
      promptTokens: 1,
      completionTokens: 1,
      cachedTokens: 0,
      estimated: false,
      streamed: false,
      userId: ours.userId,
      cost: Number.MAX_SAFE_INTEGER,
      cache: 'coalesced',
      instance: 'test',
    },
  ])
  expect(await client.spent(organisationId, budgets)).toEqual(budgets.map(() => Number.MAX_SAFE_INTEGER))
  expect(await running.spend.spent(organisationId, budgets)).toEqual(
    await client.spent(organisationId, budgets),
  )
  const { data } = await call(ours.operator, 'usage.list', { from: '2026-01-01T00:00:00Z' })
  expect(data).toMatchObject([{ cost: '9007199.254740991', cache: 'coalesced', userId: ours.userId }])
  await client.releaseSpend(organisationId, ['req_1'])
  expect(await client.spent(organisationId, [])).toEqual([])
})
