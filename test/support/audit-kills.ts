import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { type RunningAuth, startAuth } from '../../src/auth/start.ts'
import { callOperation } from '../../src/contracts/administration/call.ts'
import { DEFAULT_ORGANISATION } from '../../src/contracts/auth.ts'
import { silentLog } from '../../src/core/log.ts'
import { openDatabase, type PostgresConnection } from '../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../src/storage/embedded-postgres.ts'
import { acrossOrganisations } from '../../src/storage/tenancy.ts'
import { systemClock } from '../../src/system.ts'
import { DatabasePlace, postmasterPid } from '../integration/storage/database-place.ts'
import { authSettings } from './auth-settings.ts'
import { noKpis } from './no-kpis.ts'

const WORKERS = 4

/** A server that ends this often in a minute is soon started late: after so many kills it is a new one. */
const KILLS_OF_ONE_START = 4

const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const
const limits = { acquireTimeoutMs: 2_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }

/**
 * Kills the database so often in the middle of changes, then compares: no change without its entry in the audit log, no
 * entry without its change, and nothing that was acknowledged is gone.
 */
export async function killAndAudit(kills: number): Promise<void> {
  const place = await DatabasePlace.withDatabase()
  onTestFinished(() => place.remove())
  const acknowledged: string[] = []
  let failures = 0
  for (let done = 0; done < kills; done += KILLS_OF_ONE_START) {
    const share = Math.min(KILLS_OF_ONE_START, kills - done)
    failures += await withAuth(place, (auth, postgres) =>
      killUnderWork(auth, postgres, { share, acknowledged }),
    )
  }
  expect(failures).toBeGreaterThanOrEqual(kills)
  await withAuth(place, async ({ auth }, { connection }) => {
    const { projects, entries } = await projectsAndEntries(connection)
    expect(entries).toEqual(projects)
    const kept = new Set(projects)
    expect(acknowledged.filter((id) => !kept.has(id))).toEqual([])
    const verdict = await callOperation(auth, operator, 'audit.verify', {})
    expect(verdict).toMatchObject({ intact: true, entries: entries.length })
  })
}

async function withAuth<Result>(
  place: DatabasePlace,
  work: (running: RunningAuth, postgres: EmbeddedPostgres) => Promise<Result>,
): Promise<Result> {
  const postgres = await place.start()
  try {
    const running = await startAuth({
      connection: postgres.connection,
      pepperFile: join(place.root, 'pepper'),
      config: authSettings,
      usageRetentionMs: 400 * 86_400_000,
      responsesRetentionMs: 30 * 86_400_000,
      kpis: noKpis,
      ...limits,
    })
    try {
      return await work(running, postgres)
    } finally {
      await running.stop()
    }
  } finally {
    await postgres.stop()
  }
}

/** Returns how many changes failed. */
async function killUnderWork(
  { auth }: RunningAuth,
  { directory }: EmbeddedPostgres,
  { share, acknowledged }: { readonly share: number; readonly acknowledged: string[] },
): Promise<number> {
  let failures = 0
  let done = false
  const worker = async () => {
    while (!done) {
      try {
        const { id } = await callOperation(auth, operator, 'projects.create', { name: 'p' })
        acknowledged.push(id)
      } catch {
        failures += 1
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
  }
  const workers = Array.from({ length: WORKERS }, worker)
  const settled = () => expect.poll(() => auth.problem(), { timeout: 30_000, interval: 5 }).toBeUndefined()
  for (let kill = 0; kill < share; kill++) {
    const before = { acknowledged: acknowledged.length, failures }
    await expect
      .poll(() => acknowledged.length, { timeout: 30_000, interval: 1 })
      .toBeGreaterThan(before.acknowledged + 3)
    process.kill(await postmasterPid(directory), 'SIGKILL')
    await expect.poll(() => failures, { timeout: 20_000, interval: 1 }).toBeGreaterThan(before.failures)
    await settled()
  }
  done = true
  await Promise.all(workers)
  await settled()
  return failures
}

async function projectsAndEntries(
  connection: PostgresConnection,
): Promise<{ projects: string[]; entries: string[] }> {
  const database = openDatabase(connection, limits)
  const column = async (sql: string) =>
    (await acrossOrganisations(database, (queries) => queries.query<{ id: string }>(sql)))
      .map(({ id }) => id)
      .sort()
  try {
    return {
      projects: await column(`select id from projects where id <> 'proj_default'`),
      entries: await column(`select target as id from audit_log where action = 'projects.create'`),
    }
  } finally {
    await database.close()
  }
}
