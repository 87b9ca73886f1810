import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import { noProgress } from '../../src/core/progress.ts'
import { checkIntegrity } from '../../src/storage/backup/integrity.ts'
import { openSession } from '../../src/storage/backup/session.ts'
import { startEmbeddedPostgres } from '../../src/storage/embedded-postgres.ts'
import { systemClock } from '../../src/system.ts'
import { helixflow } from './helixflow.ts'
import { type AdministrationAnswer, administratorKey, sendJson } from './http-administration.ts'
import { post } from './raw-client.ts'
import { chatAnswer, ScriptedUpstream, sendWhole } from './scripted-upstream.ts'
import { type Server, startServer } from './server.ts'
import { mountSmallDisk } from './small-disk.ts'
import { usageIn } from './usage-rows.ts'

const CALLERS = 3

/** What everything has to be back within, once there is room. */
const RECOVERY_MS = 5_000

/**
 * Fills the disk of the embedded database again and again under load, until it can extend no table and then until it
 * cannot run at all, and makes room again. Everything that may work must work all the time, everything that may not
 * must say so, all of it must be back soon, and nothing may be lost, doubled or damaged.
 */
export async function fillAndCompare(rounds: number): Promise<void> {
  const home = homeOnSmallDisk('256m')
  const upstream = await ScriptedUpstream.start((call) => sendWhole(call, chatAnswer('hi')))
  onTestFinished(() => upstream.stop())
  const far = { name: 'far', url: upstream.url, models: ['far'], slots: 32 }
  const config = { upstreams: [far], gateway: { keyCacheTtl: '1s', keyGrace: '60s' } }
  const server = await startServer({ home, models: {}, model: null, config })
  onTestFinished(async () => void (await server.stop()))
  const admin = await administratorKey(server)
  const administer = (method: string, path: string, body?: object) =>
    sendJson(server, admin, { method, path, body })
  const create = () => administer('POST', '/admin/v1/keys', { name: 'made on a full disk' })
  const use = async (key: AdministrationAnswer) =>
    (await sendJson(server, key.body.plaintext ?? '', MODELS)).status

  const load = startLoad(server)
  onTestFinished(async () => void (await load.stop()))
  const made: AdministrationAnswer[] = []
  for (let round = 0; round < rounds; round++) {
    const [first, second] = [await create(), await create()]
    made.push(first, second)
    const makeRoom = fill(join(home, 'ballast'))

    // No table grows any more: what changes something fails clearly, what reads goes on.
    const refusal = await untilRefused(create, made)
    expect([refusal.status, refusal.code]).toEqual([503, 'storage_unavailable'])
    expect((await administer('GET', '/admin/v1/keys?limit=1')).status).toBe(200)
    expect(await use(first), 'a key that was never used before').toBe(200)

    // Its log cannot go on either: the server ends, and cannot come back.
    const told = () => countOf(server.log(), /disk is full.*"event":"database server does not come back"/g)
    const toldBefore = told()
    const pressed = async () => {
      // It may have ended already, and files that it keeps for later may have to be used up first.
      await beginNewLogFile(home).catch(() => {})
      return told()
    }
    await expect.poll(pressed, { timeout: 30_000 }).toBeGreaterThan(toldBefore)
    expect(await use(second), 'nobody can know it').toBe(503)
    expect((await create()).code).toBe('storage_unavailable')

    makeRoom()
    const roomAtMs = performance.now()
    await expect.poll(() => use(second), { timeout: RECOVERY_MS, interval: 20 }).toBe(200)
    const again = await untilKept(create, roomAtMs + RECOVERY_MS)
    made.push(again)
  }

  const answered = await load.stop()
  expect(answered.failures, 'known keys are served all the time').toEqual([])
  expect(answered.requestIds.length).toBeGreaterThan(100 * rounds)
  const { body } = await administer('GET', '/admin/v1/keys?limit=100')
  const listed = new Set(body.data?.map(({ id }) => id))
  expect(made.map((key) => key.body.id ?? '').filter((id) => !listed.has(id))).toEqual([])
  expect((await helixflow(server, 'audit', 'verify')).code).toBe(0)
  expect(await server.stop()).toBe(0)

  const { rows, sums } = await usageIn(home)
  const ids = new Set(rows.map(({ request_id }) => request_id))
  expect([ids.size, sums.requests], 'each once').toEqual([rows.length, String(rows.length)])
  expect(answered.requestIds.filter((id) => !ids.has(id))).toEqual([])
  expect(await damageIn(home)).toEqual([])
}

/** The records of requests go elsewhere: a full disk of theirs has a test of its own. */
function homeOnSmallDisk(size: string): string {
  const disk = mountSmallDisk(size)
  const spool = mkdtempSync(join(tmpdir(), 'helixflow-spool-'))
  onTestFinished(() => {
    disk.unmount()
    rmSync(spool, { recursive: true, force: true })
  })
  const home = join(disk.path, 'home')
  mkdirSync(home)
  symlinkSync(spool, join(home, 'spool'))
  return home
}

const MODELS = { method: 'GET', path: '/v1/models' } as const

/** Callers that go on until they are stopped, and what they saw. */
function startLoad(server: Server) {
  const agent = new Agent({ keepAlive: true })
  const requestIds: string[] = []
  const failures: string[] = []
  let stopped = false
  const body = JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'Hello' }] })
  const headers = { authorization: `Bearer ${server.apiKey}` }
  const caller = async () => {
    while (!stopped) {
      try {
        const answer = await post(`${server.url}/chat/completions`, { agent, headers, body })
        if (answer.status === 200) requestIds.push(String(answer.headers['x-request-id']))
        else failures.push(`${answer.status} ${answer.text}`)
      } catch (reason) {
        failures.push(String(reason))
      }
      // A load that leaves the machine to the database.
      await sleep(10)
    }
  }
  const callers = Array.from({ length: CALLERS }, caller)
  return {
    stop: async () => {
      stopped = true
      await Promise.all(callers)
      agent.destroy()
      return { requestIds, failures }
    },
  }
}

/** Takes all the room of the file's disk. Returns what gives it back. */
function fill(path: string): () => void {
  for (const block of [Buffer.alloc(2 ** 20), Buffer.alloc(4_096)]) {
    expect(() => {
      for (;;) appendFileSync(path, block)
    }).toThrow(/ENOSPC/)
  }
  // Else what the database wrote is what fills the disk, and nobody could make room.
  expect(statSync(path).size).toBeGreaterThan(2 ** 26)
  return () => rmSync(path)
}

/** Pages that a table has already may still take some. */
async function untilRefused(
  create: () => Promise<AdministrationAnswer>,
  made: AdministrationAnswer[],
): Promise<AdministrationAnswer> {
  for (;;) {
    const answer = await create()
    if (answer.status !== 200) return answer
    made.push(answer)
  }
}

async function untilKept(
  create: () => Promise<AdministrationAnswer>,
  deadlineMs: number,
): Promise<AdministrationAnswer> {
  for (;;) {
    const answer = await create()
    if (answer.status === 200) return answer
    expect([answer.status, answer.code]).toEqual([503, 'storage_unavailable'])
    expect(performance.now()).toBeLessThan(deadlineMs)
  }
}

function countOf(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0
}

/** The next byte that the server writes to its log needs a file of its own. */
async function beginNewLogFile(home: string): Promise<void> {
  const directory = join(home, 'postgres')
  const host = readFileSync(join(directory, 'postmaster.pid'), 'utf8').split('\n')[4] ?? ''
  const password = readFileSync(`${directory}.password`, 'utf8').trim()
  const session = await openSession({ host, database: 'postgres', user: 'helixflow', password })
  await session.query('select pg_switch_wal()')
  await session.close().catch(() => {})
}

/** Keys without their entry in the audit log, and entries without their key. */
const UNPAIRED = `
  select coalesce(api_keys.id, entries.target) as id
  from api_keys full join (select target from audit_log where action = 'keys.create') entries on target = id
  where id is null or target is null`

/** What a comparison of every table with its checksums, its indexes and its audit entries finds. */
async function damageIn(home: string): Promise<readonly string[]> {
  const postgres = await startEmbeddedPostgres({
    directory: join(home, 'postgres'),
    runtimeDirectory: join(home, 'run'),
    log: silentLog,
    clock: systemClock,
  })
  const session = await openSession(postgres.superuser)
  try {
    const { problems } = await checkIntegrity(session, new AbortController().signal, noProgress)
    const unpaired = await session.query<{ id: string }>(UNPAIRED)
    return [...problems, ...unpaired.map(({ id }) => `key ${id}: not changed and told together`)]
  } finally {
    await session.close()
    await postgres.stop()
  }
}
