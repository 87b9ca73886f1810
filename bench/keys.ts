import { hash } from 'node:crypto'
import { join } from 'node:path'
import { startAuth } from '../src/auth/start.ts'
import { parseConfig } from '../src/config/schema.ts'
import { callOperation } from '../src/contracts/administration/call.ts'
import { DEFAULT_ORGANISATION } from '../src/contracts/auth.ts'
import { silentLog } from '../src/core/log.ts'
import { CredentialCache } from '../src/gateway/credential-cache.ts'
import { systemClock } from '../src/system.ts'
import { noKpis } from '../test/support/no-kpis.ts'
import { startDatabase } from './database-place.ts'
import { type Benchmark, goal, median, rounded, table, versionsOf } from './report.ts'

const KEYS = 1_000

/** What it costs to know who calls. */
export const keys: Benchmark = {
  summary: 'the check of an API key, from a warm cache and from the database',
  run: async ({ quick, say }) => {
    const place = await startDatabase()
    const limits = { acquireTimeoutMs: 2_000, queryTimeoutMs: 2_000 }
    const running = await startAuth({
      connection: place.connection,
      pepperFile: join(place.root, 'pepper'),
      config: parseConfig({}).auth,
      usageRetentionMs: 400 * 86_400_000,
      responsesRetentionMs: 30 * 86_400_000,
      kpis: noKpis,
      log: silentLog,
      clock: systemClock,
      ...limits,
    })
    const cache = new CredentialCache({
      auth: running.auth,
      clock: systemClock,
      entriesMax: 10_000,
      ttlMs: 3_600_000,
      graceMs: 0,
    })
    say(`making ${KEYS} keys`)
    const credentials: string[] = []
    const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const
    for (let index = 0; index < KEYS; index++) {
      const { plaintext } = await callOperation(running.auth, operator, 'keys.create', { name: `k${index}` })
      credentials.push(plaintext)
    }
    for (const credential of credentials) await cache.identify(credential)
    const rounds: Round[] = []
    for (let round = 1; round <= (quick ? 3 : 7); round++) {
      say(`round ${round}`)
      const cold = await timeCold((credential) => running.auth.verify(credential), credentials)
      rounds.push({ round, ...timeWarm(cache, credentials, quick ? 200_000 : 1_000_000), ...cold })
    }
    cache.stop()
    await running.stop()
    await place.stop()
    const of = (field: Exclude<keyof Round, 'round'>) => median(rounds.map((one) => one[field]))
    return {
      settings: { quick, keys: KEYS },
      versions: { ...versionsOf('pg', 'lru-cache'), postgresql: place.version },
      notes: [
        'Each warm check is timed by itself, which costs about as much as the check; the CPU is of the whole loop.',
        'hashOnly is one SHA-256 of the credential: the part that no cache can save.',
      ],
      goals: [
        goal(
          'warm check: p99, ms',
          { atMost: 0.2 },
          rounds.map(({ warmP99Ms }) => warmP99Ms),
        ),
      ],
      summary: { warmP99Ms: of('warmP99Ms'), warmCpuMicros: of('warmCpuMicros'), coldP50Ms: of('coldP50Ms') },
      rounds,
      table: table(
        ['check', 'p50 ms', 'p99 ms', 'CPU us'],
        [
          ['warm', rounded(of('warmP50Ms')), rounded(of('warmP99Ms')), rounded(of('warmCpuMicros'))],
          ['hash alone', '', '', rounded(of('hashOnlyMicros'))],
          ['database', rounded(of('coldP50Ms')), rounded(of('coldP99Ms')), ''],
        ],
      ),
    }
  },
}

interface Round {
  readonly round: number
  readonly warmP50Ms: number
  readonly warmP99Ms: number
  readonly warmCpuMicros: number
  readonly hashOnlyMicros: number
  readonly coldP50Ms: number
  readonly coldP99Ms: number
}

function timeWarm(cache: CredentialCache, credentials: readonly string[], checks: number) {
  const took = new Float64Array(checks)
  for (let index = 0; index < checks; index++) {
    const credential = credentials[index % KEYS] ?? ''
    const startMs = performance.now()
    const identity = cache.identify(credential)
    took[index] = performance.now() - startMs
    if (identity instanceof Promise) throw new Error('the cache is not warm')
  }
  took.sort()
  const warmCpuMicros = cpuMicros(checks, (index) => cache.identify(credentials[index % KEYS] ?? ''))
  const hashOnlyMicros = cpuMicros(checks, (index) => hash('sha256', credentials[index % KEYS] ?? ''))
  return { warmP50Ms: at(took, 0.5), warmP99Ms: at(took, 0.99), warmCpuMicros, hashOnlyMicros }
}

function cpuMicros(times: number, work: (index: number) => unknown): number {
  const before = process.cpuUsage()
  for (let index = 0; index < times; index++) work(index)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / times
}

async function timeCold(verify: (credential: string) => Promise<unknown>, credentials: readonly string[]) {
  const took = new Float64Array(credentials.length)
  for (const [index, credential] of credentials.entries()) {
    const startMs = performance.now()
    await verify(credential)
    took[index] = performance.now() - startMs
  }
  took.sort()
  return { coldP50Ms: at(took, 0.5), coldP99Ms: at(took, 0.99) }
}

function at(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
