import type { UsageRecord } from '../../src/contracts/usage.ts'

const HOUR_MS = 3_600_000

/** A record of a test. Each number is another request; ten in a row fall into the same hour. */
export function usageRecord(number: number, changes: Partial<UsageRecord> = {}): UsageRecord {
  return {
    requestId: `req_${String(number).padStart(24, '0')}`,
    startedAtMs: Date.UTC(2026, 0, 15) + Math.floor(number / 10) * HOUR_MS + number,
    durationMs: 12.5,
    organisationId: 'org_default',
    projectId: 'proj_default',
    keyId: 'key_1',
    model: 'tiny',
    route: '/v1/chat/completions',
    status: 200,
    promptTokens: 7,
    completionTokens: number % 100,
    cachedTokens: 0,
    cost: 0,
    estimated: false,
    streamed: false,
    instance: 'test',
    ...changes,
  }
}
