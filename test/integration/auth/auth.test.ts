import { randomBytes } from 'node:crypto'
import { rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatApiKey, newApiKey } from '../../../src/auth/api-keys.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { callOperation } from '../../../src/contracts/administration/call.ts'
import type { OperationInput } from '../../../src/contracts/administration/operations.ts'
import { DEFAULT_ORGANISATION } from '../../../src/contracts/auth.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { DatabasePlace, postmasterPid } from '../storage/database-place.ts'

const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 5_000, log: silentLog }

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
/** Two services on one database, as on two machines. */
let here: RunningAuth
let there: RunningAuth
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  database = openDatabase(postgres.connection, { ...limits, clock: systemClock })
  // At the same moment on a new database: neither may fail.
  ;[here, there] = await Promise.all([start(), start()])
})
afterAll(async () => {
  await Promise.all([here.stop(), there.stop(), database.close()])
  await postgres.stop()
  await place.remove()
})

function start({
  pepperFile = join(place.root, 'pepper'),
  clock = systemClock as Clock,
} = {}): Promise<RunningAuth> {
  const usageRetentionMs = 400 * 86_400_000
  return startAuth({
    connection: postgres.connection,
    pepperFile,
    clock,
    config: authSettings,
    usageRetentionMs,
    responsesRetentionMs: 30 * 86_400_000,
    kpis: noKpis,
    ...limits,
  })
}

const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const

function createKey(input: Partial<OperationInput<'keys.create'>>) {
  return callOperation(here.auth, operator, 'keys.create', input)
}

function revokeKey(id: string) {
  return callOperation(here.auth, operator, 'keys.revoke', { id })
}

describe('a key', () => {
  test('opens the door on every machine as soon as it is made', async () => {
    const key = await createKey({ name: 'notebook' })
    expect(key.plaintext).toMatch(/^hf_live_[0-9A-Za-z]{16}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/)
    await expect(there.auth.verify(key.plaintext)).resolves.toEqual({
      actor: `key:${key.id}`,
      organisationId: 'org_default',
      projectId: 'proj_default',
      keyId: key.id,
      userId: undefined,
      rights: { organisation: [], projects: { proj_default: ['inference'] } },
      models: undefined,
      ipRules: undefined,
      limits: [],
      expiresAtMs: undefined,
      subjects: [key.id, 'org_default', 'proj_default'],
    })
  })

  test('is listed without its secret, newest first', async () => {
    const { plaintext, ...first } = await createKey({ name: 'older' })
    const { plaintext: _, ...second } = await createKey({ name: 'newer', expiresAt: '2096-10-02T07:06:40Z' })
    const { data: listed } = await callOperation(there.auth, operator, 'keys.list', { limit: 200 })
    const own = listed.filter(({ id }) => id === first.id || id === second.id)
    expect(own).toHaveLength(2)
    expect(own).toEqual(expect.arrayContaining([first, second]))
    const made = listed.map(({ createdAt }) => createdAt)
    expect(made).toEqual(made.toSorted().reverse())
    expect(JSON.stringify(listed)).not.toContain(plaintext.slice(25, 60))
  })

  test('with a wrong secret or an unknown id gets one and the same answer, revoked or not', async () => {
    const key = await createKey({ name: 'to be guessed' })
    const forged = formatApiKey(key.id, 'x'.repeat(43))
    const answers: unknown[] = []
    const tell = (error: unknown) => answers.push(error)
    await here.auth.verify(newApiKey().plaintext).catch(tell)
    await here.auth.verify(forged).catch(tell)
    await revokeKey(key.id)
    await here.auth.verify(forged).catch(tell)
    expect(answers).toHaveLength(3)
    for (const answer of answers) expect(answer).toMatchObject({ code: 'invalid_api_key' })
    expect(new Set(answers.map((answer) => String(answer))).size).toBe(1)
    await expect(here.auth.verify(key.plaintext)).rejects.toMatchObject({ code: 'api_key_revoked' })
  })

  test('stops at its expiry, and says so to its owner', async () => {
    const expiresAtMs = Date.now() + 3_600_000
    const key = await createKey({ name: 'for an hour', expiresAt: new Date(expiresAtMs).toISOString() })
    await expect(here.auth.verify(key.plaintext)).resolves.toMatchObject({ expiresAtMs })
    const later = await start({ clock: { ...systemClock, now: () => expiresAtMs } })
    await expect(later.auth.verify(key.plaintext)).rejects.toMatchObject({ code: 'api_key_expired' })
    await later.stop()
  })

  test('without a usable name, or already expired, is not made', async () => {
    for (const name of ['', '  ', 'a\u0000b', 'x'.repeat(101)]) {
      await expect(createKey({ name })).rejects.toMatchObject({
        code: 'invalid_value',
        param: 'name',
      })
    }
    for (const expiresAt of ['1970-01-01T00:00:00Z', 'soon', '2027-13-01T00:00:00Z']) {
      await expect(createKey({ name: 'n', expiresAt })).rejects.toMatchObject({ param: 'expiresAt' })
    }
  })
})

describe('a revocation', () => {
  test('reaches the other machine within a second', async () => {
    const key = await createKey({ name: 'leaked' })
    const heard: (string | undefined)[] = []
    const end = there.auth.watchRevocations((keyId) => heard.push(keyId))
    const revoked = await revokeKey(key.id)
    expect(revoked.revokedAt).toBeTypeOf('string')
    await expect.poll(() => heard, { timeout: 1_000, interval: 5 }).toEqual([key.id])
    await expect(there.auth.verify(key.plaintext)).rejects.toMatchObject({ code: 'api_key_revoked' })
    // A second time keeps the first moment, and tells again.
    expect((await revokeKey(key.id)).revokedAt).toBe(revoked.revokedAt)
    await expect.poll(() => heard).toEqual([key.id, key.id])
    end()
  })

  test('that may have been missed is announced as a loss of all', async () => {
    const heard: (string | undefined)[] = []
    const end = there.auth.watchRevocations((keyId) => heard.push(keyId))
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'helixflow listen %'`,
    )
    await expect.poll(() => heard, { timeout: 2_000 }).toEqual([undefined])
    end()
  })

  test('of no key is not found, whatever the id looks like', async () => {
    for (const id of [newApiKey().id, `' or 1=1 --`, 'x'.repeat(64)])
      await expect(revokeKey(id)).rejects.toMatchObject({ code: 'not_found' })
    for (const id of ['', 'a\u0000b', 'x'.repeat(8_192)])
      await expect(revokeKey(id)).rejects.toMatchObject({ code: 'invalid_value' })
  })
})

test('no plaintext is anywhere in the database', async () => {
  const keys = await Promise.all(
    Array.from({ length: 50 }, (_, index) => createKey({ name: `key ${index}` })),
  )
  const tables = await database.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public'`,
  )
  expect(tables.length).toBeGreaterThanOrEqual(5)
  let everything = ''
  await acrossOrganisations(database, async (queries) => {
    for (const { name } of tables) {
      const rows = await queries.query<{ text: string }>(`select row_to_json(t)::text as text from ${name} t`)
      everything += rows.map(({ text }) => text).join('\n')
    }
  })
  for (const { id, plaintext } of keys) {
    expect(everything).toContain(id)
    const secret = plaintext.split('_')[3] ?? ''
    expect(secret).toHaveLength(43)
    expect(everything).not.toContain(secret)
    expect(everything).not.toContain(Buffer.from(secret).toString('hex'))
  }
})

describe('the pepper', () => {
  test('is readable by its owner alone', async () => {
    expect((await stat(join(place.root, 'pepper'))).mode & 0o777).toBe(0o600)
  })

  test('that is lost or another one is noticed at start, not as a sea of invalid keys', async () => {
    const pepperFile = join(place.root, 'other-pepper')
    await expect(start({ pepperFile })).rejects.toMatchObject({
      code: 'invalid_configuration',
      message: expect.stringMatching(/is missing.*other-pepper/),
    })
    // Nothing was written that the right file would have to replace.
    await expect(stat(pepperFile)).rejects.toMatchObject({ code: 'ENOENT' })

    await writeFile(pepperFile, randomBytes(32).toString('hex'))
    await expect(start({ pepperFile })).rejects.toMatchObject({ code: 'invalid_configuration' })

    await rename(join(place.root, 'pepper'), pepperFile)
    await (await start({ pepperFile })).stop()
    await rename(pepperFile, join(place.root, 'pepper'))
  })
})

test('a database that is away never makes a key invalid', async () => {
  const key = await createKey({ name: 'valid all along' })
  const pid = await postmasterPid(postgres.directory)
  const codes = new Set<string>()
  process.kill(pid, 'SIGKILL')
  await expect
    .poll(
      async () => {
        const code = await there.auth.verify(key.plaintext).then(
          () => 'valid',
          (error) => error.code,
        )
        codes.add(code)
        return code === 'valid' && (await postmasterPid(postgres.directory).catch(() => pid)) !== pid
      },
      { timeout: 10_000, interval: 5 },
    )
    .toBe(true)
  expect([...codes].sort()).toEqual(['storage_unavailable', 'valid'])
})
