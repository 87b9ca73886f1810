import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatApiKey, newApiKey } from '../../../src/auth/api-keys.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { DEFAULT_ORGANISATION } from '../../../src/contracts/auth.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { Kpis } from '../../../src/monitor/kpis.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
let running: RunningAuth
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  database = openDatabase(postgres.superuser, limits)
  const kpis = new Kpis({
    database,
    clock: systemClock,
    deviceCosts: {},
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
})
afterAll(async () => {
  await Promise.all([running?.stop(), database?.close()])
  await postgres?.stop()
  await place?.remove()
})

const PIECES = [
  "'",
  '"',
  '`',
  ';',
  '--',
  '/*',
  '*/',
  '$1',
  '$$',
  '\\',
  '%',
  '_',
  '\0',
  '\n',
  ' or 1=1 ',
  ' union select ',
  "'; drop table api_keys; --",
  "E'\\x27'",
  'pg_sleep(9)',
  '$' + '{x}',
  '{{x}}',
  '\u202e',
  '\ud800',
  '𝟙',
  'İ',
  '’',
  'a'.repeat(500),
]

/** The same 400 each time. */
function hostileTexts(): string[] {
  const random = seededRandom(7)
  const pick = () => PIECES[Math.floor(random.uniform() * PIECES.length)] ?? ''
  return Array.from({ length: 400 }, () =>
    Array.from({ length: 1 + Math.floor(random.uniform() * 5) }, pick).join(''),
  )
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (reason) => HelixError.from(reason).code,
  )
}

async function statementsKnown(): Promise<readonly string[]> {
  const rows = await database.query<{ query: string }>(
    `select distinct query from pg_stat_statements
     join pg_roles on pg_roles.oid = userid where rolname = 'helixflow_app'`,
  )
  // Not the heartbeat of the connection that listens.
  return rows.map(({ query }) => query).filter((query) => query !== 'select $1')
}

test('whatever is presented as a credential or sent to be searched for never becomes part of a statement', async () => {
  const tries = async (text: string) => {
    const call = (operation: string, input: object) =>
      codeOf(running.auth.administer({ caller: operator, operation, input }))
    const codes = [
      await codeOf(running.auth.verify(text)),
      await call('audit.search', { q: text }),
      await call('users.list', { email: text }),
      await call('projects.show', { id: text }),
      await call('keys.list', { projectId: text, userId: text }),
      await codeOf(running.auth.issueToken({ grantType: 'refresh_token', refreshToken: text })),
    ]
    expect(
      codes.filter(
        (code) => !['done', 'invalid_api_key', 'invalid_value', 'not_found', 'invalid_grant'].includes(code),
      ),
    ).toEqual([])
  }
  // Every statement that is needed is known after these.
  await tries('plain')
  await codeOf(running.auth.verify(newApiKey().plaintext))
  const before = await statementsKnown()
  expect(before.length).toBeGreaterThan(5)
  for (const text of hostileTexts()) await tries(text)
  for (let index = 0; index < 100; index++)
    expect(await codeOf(running.auth.verify(formatApiKey(newApiKey().id, 'x'.repeat(43))))).toBe(
      'invalid_api_key',
    )
  expect((await statementsKnown()).filter((query) => !before.includes(query))).toEqual([])
})
