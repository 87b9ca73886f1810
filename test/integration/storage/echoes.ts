import { silentLog } from '../../../src/core/log.ts'
import { type Random, seededRandom } from '../../../src/core/random.ts'
import { openDatabase, type PostgresConnection } from '../../../src/storage/database.ts'
import { systemClock } from '../../../src/system.ts'

export interface Echoes {
  readonly answered: number
  readonly abandoned: number
  /** Answers that belong to another question. */
  readonly mismatches: readonly string[]
}

/**
 * Asks each question with a value of its own, about half of them with too little time, while connections are ended at
 * random: what gives up must never leave its answer to who comes next.
 */
export async function askEchoes(
  connection: PostgresConnection | string,
  { questions, seed }: { questions: number; seed: number },
): Promise<Echoes> {
  const random = seededRandom(seed)
  const options = { connectionsMax: 8, acquireTimeoutMs: 60_000, log: silentLog, clock: systemClock }
  // So short that now the server's limit ends a statement, now ours.
  const asking = openDatabase(connection, { ...options, queryTimeoutMs: 25 })
  const killing = openDatabase(connection, { ...options, connectionsMax: 1, queryTimeoutMs: 5_000 })
  const mismatches: string[] = []
  let answered = 0
  let next = 0
  const ask = async () => {
    while (next < questions) {
      const question = `${seed}-${next++}`
      const sleepSeconds = random.uniform() < 0.5 ? 0 : 0.015 + random.uniform() * 0.02
      try {
        const [row] = await asking.query<{ echo: string }>('select $1::text as echo, pg_sleep($2)', [
          question,
          sleepSeconds,
        ])
        answered += 1
        if (row?.echo !== question) mismatches.push(`${question}: ${row?.echo}`)
      } catch {
        if (random.uniform() < 0.05) await endOne(killing, random)
      }
    }
  }
  await Promise.all(Array.from({ length: 16 }, ask))
  await asking.close()
  await killing.close()
  return { answered, abandoned: questions - answered, mismatches }
}

async function endOne(killing: ReturnType<typeof openDatabase>, random: Random): Promise<void> {
  await killing.query(
    `select ${random.uniform() < 0.5 ? 'pg_terminate_backend' : 'pg_cancel_backend'}(pid) from pg_stat_activity
     where application_name = 'helixflow' and pid <> pg_backend_pid() and state = 'active' limit 1`,
  )
}
