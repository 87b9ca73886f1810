import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { callOperation } from '../../../src/contracts/administration/call.ts'
import { DEFAULT_ORGANISATION } from '../../../src/contracts/auth.ts'
import { silentLog } from '../../../src/core/log.ts'
import { openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { DatabasePlace, postmasterPid } from '../storage/database-place.ts'

const KILLS = 4
const limits = { acquireTimeoutMs: 2_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }

let place: DatabasePlace
let postgres: EmbeddedPostgres
let running: RunningAuth
beforeAll(async () => {
  place = await DatabasePlace.make()
  postgres = await place.start()
  running = await startAuth({
    connection: postgres.connection,
    pepperFile: join(place.root, 'pepper'),
    config: authSettings,
    usageRetentionMs: 400 * 86_400_000,
    ...limits,
  })
})
afterAll(async () => {
  await running?.stop()
  await postgres?.stop()
  await place?.remove()
})

test('however the database dies, there is no change without its audit entry and no entry without its change', async () => {
  const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const
  const acknowledged: string[] = []
  let failures = 0
  let done = false
  const worker = async () => {
    while (!done) {
      try {
        const { id } = await callOperation(running.auth, operator, 'projects.create', { name: 'p' })
        acknowledged.push(id)
      } catch {
        failures += 1
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
  }
  const workers = Array.from({ length: 4 }, worker)
  const settled = () =>
    expect.poll(() => running.auth.problem(), { timeout: 30_000, interval: 5 }).toBeUndefined()
  for (let kill = 0; kill < KILLS; kill++) {
    const before = { acknowledged: acknowledged.length, failures }
    await expect
      .poll(() => acknowledged.length, { timeout: 30_000, interval: 1 })
      .toBeGreaterThan(before.acknowledged + 3)
    process.kill(await postmasterPid(postgres.directory), 'SIGKILL')
    await expect.poll(() => failures, { timeout: 20_000, interval: 1 }).toBeGreaterThan(before.failures)
    await settled()
  }
  done = true
  await Promise.all(workers)
  await settled()

  const database = openDatabase(postgres.connection, limits)
  const column = async (sql: string) =>
    (await acrossOrganisations(database, (queries) => queries.query<{ id: string }>(sql)))
      .map(({ id }) => id)
      .sort()
  const projects = await column(`select id from projects where id <> 'proj_default'`)
  const entries = await column(`select target as id from audit_log where action = 'projects.create'`)
  await database.close()
  expect(entries).toEqual(projects)
  for (const id of acknowledged) expect(projects).toContain(id)
  expect(failures).toBeGreaterThanOrEqual(KILLS)
  const verdict = await callOperation(running.auth, operator, 'audit.verify', {})
  expect(verdict).toMatchObject({ intact: true, entries: entries.length })
})
