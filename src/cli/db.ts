import { Command } from 'commander'
import { z } from 'zod'
import { size } from '../config/quantities.ts'
import {
  type DatabaseAdministration,
  type DatabaseFinding,
  type MigrationState,
  type SlowStatements,
  STATEMENT_ORDERS,
  STATEMENTS_MAX,
  type StatementOrder,
} from '../contracts/database.ts'
import { HelixError } from '../core/errors.ts'
import { migrate } from '../storage/migrate.ts'
import { systemClock } from '../system.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { startDatabaseAdministration } from './database-administration.ts'
import { table } from './output.ts'

export function dbCommand(): Command {
  const db = new Command('db').description(
    'the database: what is wrong with it, its slowest statements, its schema',
  )
  db.addCommand(
    command('doctor', 'extensions, settings, indexes, dead rows, replication: what is healthy and what to do')
      .option('--memory <size>', 'memory of the machine that an external database has to itself: 64GiB')
      .action(doctor),
  )
  db.addCommand(
    command('queries', 'the statements that took the most time, as pg_stat_statements counts them')
      .option('--sort <order>', `worst first by ${STATEMENT_ORDERS.join(', ')}`, 'total')
      .option('--limit <number>', 'how many', '20')
      .action(queries),
  )
  db.addCommand(
    command('migrate', 'bring the schema of an external database to what this version needs')
      .option('--check', 'only say what is missing; exit code 1 when something is')
      .action(migrateSchema),
  )
  return db
}

function doctor(options: CommonOptions & { readonly memory?: string }): Promise<void> {
  return runCommand(options, async (context) => {
    const memoryBytes = options.memory === undefined ? undefined : parsed('--memory', size(), options.memory)
    const findings = await administered(context, (database) => database.doctor({ memoryBytes }))
    context.output.result(findings, () => findings.map(findingText).join('\n'))
    return findings.some(({ level }) => level === 'problem') ? 1 : 0
  })
}

const NAME_WIDTH = 16
const LEVEL_WORDS = { ok: 'ok    ', advice: 'advice', problem: 'FAIL  ' } as const

function findingText({ name, level, text, remedy }: DatabaseFinding): string {
  const first = `${LEVEL_WORDS[level]}  ${name.padEnd(NAME_WIDTH)}  ${text}`
  return remedy === undefined ? first : `${first}\n${' '.repeat(NAME_WIDTH + 10)}-> ${remedy}`
}

function queries(options: CommonOptions & { readonly sort: string; readonly limit: string }): Promise<void> {
  return runCommand(options, async (context) => {
    const sort: StatementOrder = parsed('--sort', z.enum(STATEMENT_ORDERS), options.sort)
    const limit = parsed('--limit', z.coerce.number().int().min(1).max(STATEMENTS_MAX), options.limit)
    const slow = await administered(context, (database) => database.queries({ sort, limit }))
    context.output.result(slow, () => statementsText(slow))
    return 0
  })
}

const STATEMENT_WIDTH = 160

function statementsText({ sinceMs, statements }: SlowStatements): string {
  const rows = statements.map((one) => [
    one.totalMs.toFixed(1),
    String(one.calls),
    one.meanMs.toFixed(2),
    one.maxMs.toFixed(1),
    String(one.rows),
    one.hitRatio === undefined ? '-' : `${(one.hitRatio * 100).toFixed(1)} %`,
    one.statement.slice(0, STATEMENT_WIDTH),
  ])
  const headings = ['TOTAL ms', 'CALLS', 'MEAN ms', 'MAX ms', 'ROWS', 'IN MEMORY', 'STATEMENT']
  return `since ${new Date(sinceMs).toISOString()}\n${table(headings, rows)}`
}

function migrateSchema(options: CommonOptions & { readonly check?: boolean }): Promise<void> {
  return runCommand(options, async (context) => {
    const { settings, output, log } = context
    const { database } = settings.config
    if (options.check !== true) {
      if (database.driver === 'embedded') {
        output.note("The embedded database is brought up to date by 'helixflow up', each time it starts.")
        return 0
      }
      await migrate({ connection: database.url, log, clock: systemClock })
    }
    const state = await administered(context, (one) => one.migrations())
    output.result(state, () => migrationText(state))
    return state.pending.length + state.foreign.length > 0 ? 1 : 0
  })
}

function migrationText({ pending, foreign, appliedCount }: MigrationState): string {
  const lines = [
    `${appliedCount} applied`,
    ...pending.map((name) => `pending  ${name}`),
    ...foreign.map((name) => `applied by another version  ${name}`),
  ]
  return lines.join('\n')
}

/** An external database is asked directly; the embedded one through the server that it belongs to. */
async function administered<Result>(
  { settings, control, log }: CommandContext,
  work: (database: DatabaseAdministration) => Promise<Result>,
): Promise<Result> {
  const { database } = settings.config
  if (database.driver === 'embedded') return work(throughServer(control))
  const administration = startDatabaseAdministration(database.url, database, log)
  try {
    return await work(administration)
  } finally {
    await administration.stop()
  }
}

function throughServer(control: CommandContext['control']): DatabaseAdministration {
  return {
    doctor: async ({ memoryBytes }) => {
      const query = memoryBytes === undefined ? '' : `?memoryBytes=${memoryBytes}`
      const { findings } = await control.get<{ findings: readonly DatabaseFinding[] }>(
        `/admin/v1/database/doctor${query}`,
      )
      return findings
    },
    queries: ({ sort, limit }) => control.get(`/admin/v1/database/queries?sort=${sort}&limit=${limit}`),
    migrations: () => control.get('/admin/v1/database/migrations'),
  }
}

/** @throws HelixError `invalid_arguments` */
function parsed<T>(option: string, schema: z.ZodType<T>, text: string): T {
  const result = schema.safeParse(text)
  if (result.success) return result.data
  throw new HelixError('invalid_arguments', `${option} ${text}: ${result.error.issues[0]?.message}`)
}
