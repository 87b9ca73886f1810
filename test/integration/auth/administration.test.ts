import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { callOperation } from '../../../src/contracts/administration/call.ts'
import {
  changes,
  OPERATIONS,
  type OperationInput,
  type OperationName,
} from '../../../src/contracts/administration/operations.ts'
import type { AdministrationCall, Caller, Identity } from '../../../src/contracts/auth.ts'
import { PERMISSIONS, ROLES, type Role, rightsOf } from '../../../src/contracts/permissions.ts'
import type { UsageRecord } from '../../../src/contracts/usage.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import { Kpis } from '../../../src/monitor/kpis.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { acrossOrganisations, inOrganisation } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
let running: RunningAuth
/** Two tenants, each with everything that can exist. */
let ours: Tenant
let theirs: Tenant
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  database = openDatabase(postgres.connection, limits)
  // With prices, so that it is seen that they are told to nobody.
  const prices = { '*': 1_000_000_000 }
  const kpis = new Kpis({
    database,
    clock: systemClock,
    deviceCosts: prices,
    minutesKeptMs: 0,
    devices: async () => [],
  })
  running = await startAuth({
    connection: postgres.connection,
    pepperFile: join(place.root, 'pepper'),
    config: authSettings,
    usageRetentionMs: 400 * 86_400_000,
    responsesRetentionMs: 30 * 86_400_000,
    kpis: { kpis: (query) => kpis.report(query) },
    ...limits,
  })
  ours = await makeTenant('Ours')
  theirs = await makeTenant('Theirs')
})
afterAll(async () => {
  await Promise.all([running?.stop(), database?.close()])
  await postgres?.stop()
  await place?.remove()
})

interface Tenant {
  readonly operator: Caller
  readonly organisationId: string
  readonly projectId: string
  readonly owner: Identity
  readonly userId: string
  readonly serviceAccountId: string
  readonly keyId: string
  readonly limitId: string
}

async function makeTenant(name: string): Promise<Tenant> {
  const platform: Caller = { actor: 'operator', organisationId: 'org_default' }
  const { id: organisationId } = await call(platform, 'organisations.create', { name })
  const operator: Caller = { actor: 'operator', organisationId }
  const { id: projectId } = await call(operator, 'projects.create', { name: `${name} project` })
  const email = `${name.toLowerCase()}@example.com`
  const { id: userId } = await call(operator, 'users.create', { email, name, role: 'owner' })
  const account = { projectId, name: `${name} robot`, role: 'developer' } as const
  const { id: serviceAccountId } = await call(operator, 'service_accounts.create', account)
  const { id: keyId } = await call(operator, 'keys.create', { name: `${name} key`, projectId })
  const owner = user({ organisationId, projectId, userId }, 'owner')
  const { id: limitId } = await call(operator, 'limits.set', { measure: 'concurrency', limit: 9, keyId })
  return { operator, organisationId, projectId, owner, userId, serviceAccountId, keyId, limitId }
}

function user(
  { organisationId, projectId, userId }: { organisationId: string; projectId: string; userId: string },
  role: Role,
  onlyIn?: string,
): Identity {
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
    subjects: [userId, organisationId],
  }
}

function call<Name extends OperationName>(
  caller: Caller,
  operation: Name,
  input: Partial<OperationInput<Name>>,
) {
  return callOperation(running.auth, caller, operation, input)
}

async function refusalOf(call: AdministrationCall): Promise<HelixError> {
  const answer = await running.auth.administer(call).catch((error: unknown) => error)
  if (answer instanceof HelixError) return answer
  return expect.unreachable(`${call.operation} was done: ${JSON.stringify(answer)}`)
}

const NAMES = Object.keys(OPERATIONS) as OperationName[]

/** An input that each operation takes, with the ids of that tenant. */
function inputFor(
  operation: OperationName,
  { projectId, userId, serviceAccountId, keyId, limitId, organisationId }: Tenant,
) {
  const id = operation.startsWith('organisations')
    ? organisationId
    : operation.startsWith('projects')
      ? projectId
      : operation.startsWith('users')
        ? userId
        : operation.startsWith('service_accounts')
          ? serviceAccountId
          : operation.startsWith('limits')
            ? limitId
            : keyId
  const all: Record<string, unknown> = {
    id,
    projectId,
    name: 'A name',
    email: `${Math.random()}@example.com`,
    role: 'viewer',
    measure: 'concurrency',
    limit: 3,
  }
  const shape = OPERATIONS[operation].input.shape as Record<string, { def: { type: string } }>
  const wanted = Object.entries(shape).filter(
    ([, { def }]) => def.type !== 'optional' && def.type !== 'default',
  )
  return Object.fromEntries(wanted.map(([field]) => [field, all[field]]))
}

describe('another tenant', () => {
  const byId = NAMES.filter(
    (name) => 'id' in OPERATIONS[name].input.shape && !name.startsWith('organisations'),
  )

  test.each(byId)('%s: what is theirs is answered as what does not exist', async (operation) => {
    const foreign = inputFor(operation, theirs)
    const missing = { ...foreign, id: `${String(foreign['id']).slice(0, -3)}000` }
    const answers = await Promise.all(
      [foreign, missing].map((input) => refusalOf({ caller: ours.owner, operation, input })),
    )
    expect(answers[0]).toMatchObject({ status: 404, code: 'not_found' })
    expect(answers[0]?.toBody()).toEqual(answers[1]?.toBody())
  })

  test.each([
    'projects.list',
    'users.list',
    'service_accounts.list',
    'keys.list',
    'limits.list',
    'audit.search',
  ] as const)('%s shows nothing of theirs', async (operation) => {
    const answer = await running.auth.administer({ caller: ours.owner, operation, input: {} })
    const text = JSON.stringify(answer)
    expect((answer as { data: unknown[] }).data.length).toBeGreaterThan(0)
    for (const id of [theirs.organisationId, theirs.projectId, theirs.userId, theirs.keyId])
      expect(text).not.toContain(id)
  })

  test('a key for their project, their user or their program is not made', async () => {
    for (const input of [
      { name: 'k', projectId: theirs.projectId },
      { name: 'k', projectId: ours.projectId, userId: theirs.userId },
      { name: 'k', projectId: ours.projectId, serviceAccountId: theirs.serviceAccountId },
    ])
      await expect(call(ours.owner, 'keys.create', input)).rejects.toMatchObject({ code: 'not_found' })
  })

  test('is behind a second wall: a statement that forgets the condition still sees one tenant alone', async () => {
    const tables = [
      'organisations',
      'projects',
      'memberships',
      'users',
      'service_accounts',
      'api_keys',
      'limit_rules',
      'audit_log',
    ]
    for (const table of tables) {
      const all = await acrossOrganisations(database, (queries) => queries.query(`select * from ${table}`))
      const mine = await inOrganisation(database, ours.organisationId, (queries) =>
        queries.query(`select * from ${table}`),
      )
      expect(mine.length).toBeGreaterThan(0)
      expect(mine.length).toBeLessThan(all.length)
      expect(JSON.stringify(mine)).not.toContain(theirs.organisationId)
      // Without saying for whom, there is nothing at all.
      expect(await database.query(`select * from ${table}`)).toEqual([])
    }
    await expect(
      inOrganisation(database, ours.organisationId, (queries) =>
        queries.query(
          `insert into projects (id, organisation_id, name, created_at) values ('x', $1, 'x', now())`,
          [theirs.organisationId],
        ),
      ),
    ).rejects.toMatchObject({ message: expect.stringContaining('row-level security') })
  })
})

describe('permissions', () => {
  const cases = NAMES.flatMap((operation) =>
    (Object.keys(ROLES) as Role[]).map((role) => ({
      operation,
      role,
      needs: OPERATIONS[operation].permission,
    })),
  )

  test.each(cases)('$role, $operation', async ({ operation, role, needs }) => {
    const fresh = await makeTenant('Fresh')
    const permissions: readonly string[] = ROLES[role]
    const answer = running.auth.administer({
      caller: user(fresh, role),
      operation,
      input: inputFor(operation, fresh),
    })
    const code = await answer.then(
      () => 'done',
      (error) => error.code,
    )
    if (!permissions.includes(needs)) expect(code).toBe('insufficient_permissions')
    // Allowed; some of them meet another rule, such as that of the last owner.
    else expect(['done', 'conflict', 'insufficient_permissions']).toContain(code)
    if (role === 'owner' && needs !== 'platform') expect(code).not.toBe('insufficient_permissions')
  })

  test('a role in one project ends at its edge', async () => {
    const { id: other } = await call(ours.operator, 'projects.create', { name: 'Other' })
    const developer = user(ours, 'developer', ours.projectId)
    const listed = await call(developer, 'projects.list', {})
    expect(listed.data.map(({ id }) => id)).toEqual([ours.projectId])
    await expect(call(developer, 'projects.show', { id: other })).rejects.toMatchObject({ code: 'not_found' })
    await expect(call(developer, 'keys.list', { projectId: other })).resolves.toMatchObject({ data: [] })
    await expect(call(developer, 'keys.create', { name: 'k', projectId: other })).rejects.toMatchObject({
      code: 'not_found',
    })
  })

  test('nobody gives what they do not have', async () => {
    const admin = user(ours, 'admin')
    const email = `${Math.random()}@example.com`
    await expect(call(admin, 'users.create', { email, name: 'n', role: 'owner' })).rejects.toMatchObject({
      code: 'insufficient_permissions',
    })
    const developer = user(ours, 'developer', ours.projectId)
    for (const scope of PERMISSIONS) {
      const made = call(developer, 'keys.create', { name: 'k', projectId: ours.projectId, scopes: [scope] })
      if ((ROLES.developer as readonly string[]).includes(scope) && scope !== 'organisation.read')
        await expect(made).resolves.toMatchObject({ userId: ours.userId })
      else await expect(made).rejects.toMatchObject({ code: 'insufficient_permissions' })
    }
  })

  test("a developer's keys are their own, and nobody else's are theirs", async () => {
    const developer = user(ours, 'developer', ours.projectId)
    const own = await call(developer, 'keys.create', { name: 'mine' })
    expect(own.userId).toBe(ours.userId)
    await expect(call(developer, 'keys.revoke', { id: ours.keyId })).rejects.toMatchObject({
      code: 'insufficient_permissions',
    })
    await expect(call(developer, 'keys.revoke', { id: own.id })).resolves.toMatchObject({ id: own.id })
  })

  test('the last owner stays', async () => {
    const { owner, userId } = await makeTenant('Owned')
    await expect(call(owner, 'users.remove', { id: userId })).rejects.toMatchObject({ code: 'conflict' })
    await expect(call(owner, 'users.grant', { id: userId, role: 'viewer' })).rejects.toMatchObject({
      code: 'conflict',
    })
    const email = `${Math.random()}@example.com`
    const second = await call(owner, 'users.create', { email, name: 'Second', role: 'owner' })
    await expect(call(owner, 'users.remove', { id: second.id })).resolves.toMatchObject({ roles: [] })
  })

  test('of two owners who remove each other at the same time one stays', async () => {
    const { owner, userId, organisationId, projectId } = await makeTenant('Contested')
    const email = `${Math.random()}@example.com`
    const second = await call(owner, 'users.create', { email, name: 'Second', role: 'owner' })
    const other = user({ organisationId, projectId, userId: second.id }, 'owner')
    const results = await Promise.allSettled([
      call(owner, 'users.remove', { id: second.id }),
      call(other, 'users.remove', { id: userId }),
    ])
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })
})

describe('a field that is nobody’s to set', () => {
  const writes = NAMES.filter((name) => changes(name))
  const fields = [
    'tenant_id',
    'organisationId',
    'is_admin',
    'budget',
    'spend',
    'secretHmac',
    'createdAt',
    '__proto__',
  ]

  test.each(writes)('%s refuses it by name', async (operation) => {
    for (const field of fields) {
      const input = JSON.parse(
        JSON.stringify(inputFor(operation, ours)).replace(/\}$/, `,"${field}":"x"}`).replace('{,', '{'),
      )
      const error = await refusalOf({ caller: ours.owner, operation, input })
      expect(error).toMatchObject({ code: 'unsupported_parameter', param: field })
    }
  })
})

describe('keys', () => {
  test('are rotated with an overlap, at whose end the old one dies', async () => {
    const old = await call(ours.operator, 'keys.create', { name: 'turning', projectId: ours.projectId })
    const made = await call(ours.operator, 'keys.rotate', { id: old.id, overlapSeconds: 60 })
    expect(made).toMatchObject({ name: 'turning', projectId: ours.projectId })
    const [before, after] = await Promise.all(
      [old, made].map(({ plaintext }) => running.auth.verify(plaintext)),
    )
    expect(after?.expiresAtMs).toBeUndefined()
    const leftMs = (before?.expiresAtMs ?? 0) - Date.now()
    expect(leftMs).toBeGreaterThan(50_000)
    expect(leftMs).toBeLessThanOrEqual(60_000)
    await expect(call(ours.operator, 'keys.rotate', { id: old.id })).rejects.toMatchObject({
      code: 'conflict',
    })
    const at = await call(ours.operator, 'keys.rotate', { id: made.id, overlapSeconds: 0 })
    await expect(running.auth.verify(made.plaintext)).rejects.toMatchObject({ code: 'api_key_expired' })
    await expect(running.auth.verify(at.plaintext)).resolves.toMatchObject({ keyId: at.id })
  })

  test('end with their project, their program, their person', async () => {
    const tenant = await makeTenant('Ending')
    const { operator, projectId, serviceAccountId, userId } = tenant
    const second = await call(operator, 'projects.create', { name: 'Short' })
    const keys = {
      project: await call(operator, 'keys.create', { name: 'p', projectId: second.id }),
      program: await call(operator, 'keys.create', { name: 's', projectId, serviceAccountId }),
      person: await call(operator, 'keys.create', { name: 'u', projectId, userId }),
    }
    const heard: (string | undefined)[] = []
    const end = running.auth.watchRevocations((subject) => heard.push(subject))
    await call(operator, 'projects.archive', { id: second.id })
    await call(operator, 'service_accounts.disable', { id: serviceAccountId })
    const email = `${Math.random()}@example.com`
    await call(operator, 'users.create', { email, name: 'Heir', role: 'owner' })
    await call(operator, 'users.remove', { id: userId })
    for (const [of, { plaintext }] of Object.entries(keys)) {
      const code = of === 'person' ? 'api_key_revoked' : 'api_key_disabled'
      await expect(running.auth.verify(plaintext)).rejects.toMatchObject({ code, status: 401 })
    }
    await expect.poll(() => heard).toEqual([second.id, serviceAccountId, userId])
    end()
  })

  test('lose what their person loses', async () => {
    const { operator, projectId, userId } = await makeTenant('Demoted')
    const email = `${Math.random()}@example.com`
    const { id } = await call(operator, 'users.create', { email, name: 'Admin', role: 'admin' })
    expect(id).not.toBe(userId)
    const scopes = ['inference', 'members.write'] as const
    const { plaintext } = await call(operator, 'keys.create', {
      name: 'k',
      projectId,
      userId: id,
      scopes: [...scopes],
    })
    const before = await running.auth.verify(plaintext)
    expect(before.rights).toEqual({
      organisation: ['members.write'],
      projects: { [projectId]: ['inference'] },
    })
    await call(operator, 'users.grant', { id, role: 'viewer' })
    const after = await running.auth.verify(plaintext)
    expect(after.rights).toEqual({ organisation: [], projects: { [projectId]: [] } })
  })

  test('are listed page by page, each once', async () => {
    const { operator, projectId } = await makeTenant('Many')
    const made = new Set<string>()
    for (let index = 0; index < 12; index++)
      made.add((await call(operator, 'keys.create', { name: `k${index}`, projectId })).id)
    const seen: string[] = []
    for (let after: string | undefined; ; ) {
      const page = await call(operator, 'keys.list', { limit: 5, ...(after === undefined ? {} : { after }) })
      seen.push(...page.data.map(({ id }) => id))
      after = page.next
      if (after === undefined) break
    }
    expect(seen).toHaveLength(13)
    expect(new Set(seen).size).toBe(13)
    for (const id of made) expect(seen).toContain(id)
    await expect(call(operator, 'keys.list', { after: 'nonsense' })).rejects.toMatchObject({ param: 'after' })
  })
})

describe('an idempotency key', () => {
  test('makes one key of many requests, and all of them get its plaintext', async () => {
    const request = {
      caller: ours.operator,
      operation: 'keys.create',
      input: { name: 'once', projectId: ours.projectId },
      idempotencyKey: 'again-and-again',
    }
    const answers = await Promise.all(Array.from({ length: 10 }, () => running.auth.administer(request)))
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1)
    const { data } = await call(ours.operator, 'keys.list', { limit: 200 })
    expect(data.filter(({ name }) => name === 'once')).toHaveLength(1)
    const other = { ...request, input: { name: 'other', projectId: ours.projectId } }
    await expect(running.auth.administer(other)).rejects.toMatchObject({ code: 'idempotency_key_reused' })
    // Somebody else's key of that name is another one.
    await expect(running.auth.administer({ ...request, caller: ours.owner })).resolves.not.toMatchObject({
      id: (answers[0] as { id: string }).id,
    })
  })

  test('of a request that failed is free again', async () => {
    const request = { caller: ours.operator, operation: 'projects.show', idempotencyKey: 'k' }
    const failing = { ...request, operation: 'projects.rename', input: { id: 'proj_none', name: 'x' } }
    await expect(running.auth.administer(failing)).rejects.toMatchObject({ code: 'not_found' })
    const working = { ...failing, input: { id: ours.projectId, name: 'Renamed' } }
    await expect(running.auth.administer(working)).resolves.toMatchObject({ name: 'Renamed' })
  })
})

describe('the audit log', () => {
  test('has one entry for each change, and none for what failed or only read', async () => {
    const tenant = await makeTenant('Audited')
    const { operator, projectId } = tenant
    const count = async () => (await call(operator, 'audit.search', { limit: 200 })).data.length
    const before = await count()
    await call(operator, 'projects.rename', { id: projectId, name: 'New name' })
    await call(operator, 'projects.show', { id: projectId })
    await call(operator, 'projects.rename', { id: 'proj_none', name: 'x' }).catch(() => {})
    expect(await count()).toBe(before + 1)
    const { data } = await call(operator, 'audit.search', { limit: 1 })
    expect(data[0]).toMatchObject({
      actor: 'operator',
      action: 'projects.rename',
      target: projectId,
      details: { name: 'New name' },
    })
  })

  test('is found by any part of its text', async () => {
    const { operator, projectId } = await makeTenant('Sought')
    await call(operator, 'projects.rename', { id: projectId, name: '100%_Ünder\\score' })
    for (const q of ['100%_Ü', 'ÜNDER\\\\', 'projects.rename', projectId]) {
      const { data } = await call(operator, 'audit.search', { q })
      expect(
        data.some(({ action }) => action === 'projects.rename'),
        q,
      ).toBe(true)
    }
    expect((await call(operator, 'audit.search', { q: '100x' })).data).toEqual([])
    expect((await call(operator, 'audit.search', { action: 'keys.create' })).data).toHaveLength(1)
    expect((await call(operator, 'audit.search', { to: '2000-01-01T00:00:00Z' })).data).toEqual([])
  })

  test('cannot be changed, and shows it when it was', async () => {
    const { operator, organisationId } = await makeTenant('Tampered')
    expect(await call(operator, 'audit.verify', {})).toMatchObject({ intact: true, entries: 5 })
    const change = (statement: string) => acrossOrganisations(database, (queries) => queries.query(statement))
    for (const statement of [
      'update audit_log set actor = $$x$$',
      'delete from audit_log',
      'truncate audit_log cascade',
    ])
      await expect(change(statement)).rejects.toMatchObject({
        message: expect.stringContaining('append-only'),
      })

    // The owner of the tables can take the lock off; the chain tells.
    const tamper = async (statement: string) => {
      await change(`alter table audit_log disable trigger all_user`.replace('all_user', 'user'))
      await change(statement)
      await change('alter table audit_log enable trigger user')
    }
    const where = `where organisation_id = '${organisationId}'`
    await tamper(`update audit_log set details = '{"role":"viewer"}' ${where} and number = 2`)
    expect(await call(operator, 'audit.verify', {})).toMatchObject({
      intact: false,
      problem: 'entry 2 was changed',
    })
    await change(`delete from audit_search ${where}`)
    await tamper(`delete from audit_log ${where} and number >= 2`)
    const cut = await call(operator, 'audit.verify', {})
    expect(cut.problem).toContain('5 were made, 1 are there')
  })

  test('keeps its chain whole when many change things at the same time', async () => {
    const { operator, projectId } = await makeTenant('Crowded')
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        call(operator, 'keys.create', { name: `k${index}`, projectId }),
      ),
    )
    expect(await call(operator, 'audit.verify', {})).toMatchObject({ intact: true, entries: 45 })
  })

  test('holds no secret', async () => {
    const { operator, projectId } = await makeTenant('Discreet')
    const { plaintext } = await call(operator, 'keys.create', { name: 'k', projectId })
    const email = `${Math.random()}@example.com`
    await call(operator, 'users.create', {
      email,
      name: 'n',
      role: 'viewer',
      password: 'correct horse battery',
    })
    const everything = JSON.stringify((await call(operator, 'audit.search', { limit: 200 })).data)
    expect(everything).toContain(email)
    expect(everything).not.toContain(plaintext.split('_')[3])
    expect(everything).not.toContain('horse')
    expect(everything).not.toContain('argon2')
  })
})

describe('usage', () => {
  const record = (requestId: string, change: Partial<UsageRecord> = {}): UsageRecord => ({
    requestId,
    startedAtMs: Date.now() - 60_000,
    durationMs: 12,
    organisationId: ours.organisationId,
    projectId: ours.projectId,
    keyId: ours.keyId,
    model: 'm',
    route: '/v1/chat/completions',
    status: 200,
    promptTokens: 5,
    completionTokens: 7,
    cachedTokens: 0,
    cost: 1_234_500_000,
    estimated: false,
    streamed: true,
    instance: 'test',
    ...change,
  })

  test('is summed and listed for its organisation alone, page by page', async () => {
    const { organisationId, projectId } = theirs
    await running.usage.record([record('r1'), record('r2'), record('r3', { organisationId, projectId })])
    const { data } = await call(ours.operator, 'usage.summary', { groupBy: 'model' })
    expect(data).toMatchObject([
      { group: 'm', requests: 2, promptTokens: 10, completionTokens: 14, cost: '2.469' },
    ])
    const first = await call(ours.operator, 'usage.list', { limit: 1 })
    const second = await call(ours.operator, 'usage.list', { limit: 1, after: first.next ?? '' })
    expect([...first.data, ...second.data].map(({ requestId }) => requestId).sort()).toEqual(['r1', 'r2'])
    expect(first.data[0]).toMatchObject({ cost: '1.2345' })
    expect(second.next).toBeUndefined()
    await expect(call(ours.operator, 'usage.list', { after: 'x' })).rejects.toMatchObject({ param: 'after' })
  })

  test('makes figures of the business for its organisation alone, without what devices cost', async () => {
    const tenant = await makeTenant('Figures')
    const { organisationId, projectId, keyId } = tenant
    const theirOwn = { organisationId, projectId, keyId, model: 'figures' }
    await running.usage.record([
      record('f0', { ...theirOwn, startedAtMs: Date.now() - 40 * 3_600_000 }),
      record('f1', { ...theirOwn, firstTokenMs: 12 }),
      record('f2', { ...theirOwn, status: 502, cache: 'hit' }),
      record('f3', { model: 'figures' }),
    ])
    const from = new Date(Date.now() - 3_600_000).toISOString()
    const answer = await call(tenant.operator, 'usage.kpis', { from })
    expect(answer).toEqual(OPERATIONS['usage.kpis'].output.parse(answer))
    expect(answer.data).toMatchObject([
      { group: 'figures', requests: 2, errors: 1, cost: '2.469', cacheHitRatio: 0.5, firstTokenP50Ms: 12 },
    ])
    expect(answer.total).toMatchObject({ group: 'total', requests: 2, activeUsers: 1 })
    // In the first two days of a month some of it was in the one before.
    expect(answer.forecast?.cost.soFar).toMatch(/^(0|1.2345|2.469|3.7035)$/)
    const { data } = await call(tenant.operator, 'usage.kpis', { groupBy: 'project', projectId, from })
    expect(data).toMatchObject([{ group: projectId, requests: 2 }])
    const foreign = await call(tenant.owner, 'usage.kpis', { projectId: ours.projectId })
    expect(foreign).toMatchObject({ data: [], total: { requests: 0 } })
    const backwards = { from: '2026-02-01T00:00:00Z', to: '2026-01-01T00:00:00Z' }
    await expect(call(tenant.owner, 'usage.kpis', backwards)).rejects.toMatchObject({ param: 'from' })
  })

  test.each(['usage.summary', 'usage.kpis'] as const)(
    '%s of one project is shown to who may see that project',
    async (operation) => {
      const viewer = user(ours, 'viewer', ours.projectId)
      await expect(call(viewer, operation, { projectId: ours.projectId })).resolves.toBeDefined()
      await expect(call(viewer, operation, {})).rejects.toMatchObject({
        code: 'insufficient_permissions',
      })
      const elsewhere = call(viewer, operation, { projectId: theirs.projectId })
      await expect(elsewhere).rejects.toMatchObject({ code: 'not_found' })
    },
  )
})
