import type {
  UsageClient,
  UsageListQuery,
  UsagePage,
  UsageRecord,
  UsageSummaryQuery,
  UsageSummaryRow,
} from '../contracts/usage.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { insertUsage, listUsage, usageSummary } from '../storage/usage.ts'

const PAGE_MAX = 1_000

/** What requests cost: kept for the gateways, told to those who may ask. Who may is decided before. */
export class UsageService implements UsageClient {
  constructor(private readonly database: Database) {}

  record(batch: readonly UsageRecord[]): Promise<void> {
    return insertUsage(this.database, batch)
  }

  async summary(query: UsageSummaryQuery): Promise<readonly UsageSummaryRow[]> {
    checkRange(query)
    return usageSummary(this.database, query)
  }

  async list(query: UsageListQuery): Promise<UsagePage> {
    checkRange(query)
    if (!Number.isSafeInteger(query.limit) || query.limit < 1 || query.limit > PAGE_MAX) {
      throw new HelixError('invalid_value', `limit must be 1 to ${PAGE_MAX}.`, { param: 'limit' })
    }
    // One more than asked for tells whether there is a next page.
    const found = await listUsage(this.database, { ...query, limit: query.limit + 1 })
    const records = found.slice(0, query.limit)
    const last = found.length > query.limit ? records.at(-1) : undefined
    return { records, next: last && { startedAtMs: last.startedAtMs, requestId: last.requestId } }
  }
}

/** The year 9999: later ones have another notation. */
const TIME_MAX_MS = 253_402_300_800_000

function checkRange({ fromMs, toMs }: { readonly fromMs: number; readonly toMs: number }): void {
  for (const [param, value] of Object.entries({ fromMs, toMs })) {
    if (value >= 0 && value <= TIME_MAX_MS) continue
    throw new HelixError('invalid_value', `${param} must be a time in milliseconds since 1970.`, { param })
  }
}
