import type { Queries } from '../../../src/storage/database.ts'

export interface Recorded {
  readonly sql: string
  readonly values: readonly unknown[]
}

export interface SequentialScan {
  readonly sql: string
  readonly table: string
}

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly Plans?: readonly Plan[]
}

/** Carries statements out, and keeps how the server planned each one: with its values, and for any values. */
export class PlannedQueries implements Queries {
  readonly recorded: Recorded[] = []
  readonly scans: SequentialScan[] = []

  constructor(
    private readonly inner: Queries,
    /** Tables that may be read as a whole: they have a handful of rows. */
    private readonly small: ReadonlySet<string>,
  ) {}

  async query<Row extends Record<string, unknown>>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<readonly Row[]> {
    this.recorded.push({ sql, values })
    // Before it runs: afterwards a deleted row is not found any more, and a plan does not show why.
    if (isPlanned(sql)) {
      await this.examine(sql, `explain (format json) ${sql}`, values)
      await this.examineGeneric(sql, values)
    }
    return this.inner.query<Row>(sql, values)
  }

  /** The plan that a prepared statement gets in the end, which knows no values. */
  private async examineGeneric(sql: string, values: readonly unknown[]): Promise<void> {
    if (values.length === 0) return
    await this.inner.query(`set local plan_cache_mode = force_generic_plan`)
    await this.inner.query(`prepare planned as ${sql}`)
    const nothing = values.map(() => 'null').join(', ')
    await this.examine(sql, `explain (format json) execute planned (${nothing})`, [])
    await this.inner.query('deallocate planned')
    await this.inner.query('set local plan_cache_mode = auto')
  }

  private async examine(sql: string, explain: string, values: readonly unknown[]): Promise<void> {
    const [row] = await this.inner.query<{ 'QUERY PLAN': readonly [{ Plan: Plan }] }>(explain, values)
    for (const table of scannedTables(row?.['QUERY PLAN'][0].Plan)) {
      if (!this.small.has(table)) this.scans.push({ sql: sql.replaceAll(/\s+/g, ' '), table })
    }
  }
}

function scannedTables(plan: Plan | undefined): string[] {
  if (!plan) return []
  const own = plan['Node Type'] === 'Seq Scan' && plan['Relation Name'] ? [plan['Relation Name']] : []
  return [...own, ...(plan.Plans ?? []).flatMap(scannedTables)]
}

/** What has a plan; the others (set, listen, lock) read no table. */
function isPlanned(sql: string): boolean {
  return /^\s*(select|insert|update|delete|with|merge|values)\b/i.test(sql)
}
