import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Identity } from '../../../src/contracts/auth.ts'
import { NO_RIGHTS } from '../../../src/contracts/permissions.ts'
import { priceList } from '../../../src/contracts/prices.ts'
import type { UsageRecord } from '../../../src/contracts/usage.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import type { Settlement } from '../../../src/gateway/dispatch/settlement.ts'
import { UsageMeter } from '../../../src/gateway/usage/meter.ts'
import { decodeRecords, encodeRecord, recordBytesMax } from '../../../src/gateway/usage/spool-record.ts'
import { systemClock } from '../../../src/system.ts'
import { usageRecord } from '../../support/usage-records.ts'

const identity: Identity = {
  actor: 'key:key_1',
  organisationId: 'org_default',
  projectId: 'proj_default',
  keyId: 'key_1',
  userId: 'user_1',
  rights: NO_RIGHTS,
  models: undefined,
  ipRules: undefined,
  limits: [],
  expiresAtMs: undefined,
  subjects: [],
}

const settlement: Settlement = {
  usage: { promptTokens: 1_000, completionTokens: 100, cachedTokens: 600 },
  estimated: false,
  worked: true,
  firstTokenMs: undefined,
  error: undefined,
}

let directory: string
let records: UsageRecord[]
let meter: UsageMeter
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'helixflow-meter-'))
  records = []
  meter = new UsageMeter({
    sink: { record: async (batch) => void records.push(...batch) },
    directory,
    bytesMax: 2 ** 22,
    price: priceList({ priced: { input: 2e9, cachedInput: 1e9, output: 8e9 } }),
    instance: 'test',
    clock: systemClock,
    log: silentLog,
  })
})
afterEach(() => rmSync(directory, { recursive: true }))

function settle(model: string, changes: Partial<Settlement> = {}): void {
  const startedMs = systemClock.monotonic()
  const requestId = `req_${model}_${records.length}`
  const route = '/v1/chat/completions'
  const ticket = meter.admit({
    requestId,
    identity,
    route,
    model,
    streamed: false,
    user: undefined,
    startedMs,
  })
  ticket.settle({ ...settlement, ...changes })
  ticket.close()
}

test('a record says what the request cost by the price of its model, whose it was, and whether it came from the cache', async () => {
  settle('priced')
  settle('priced', { cache: 'hit' })
  settle('priced', {
    error: new HelixError('engine_failed', 'x'),
    usage: { ...settlement.usage, promptTokens: 0 },
  })
  settle('another')
  await meter.stop()
  expect(records.map(({ cost, cache, userId }) => [cost, cache, userId])).toEqual([
    // 400 at 2, 600 at 1, 100 at 8 for a million.
    [2_200_000, undefined, 'user_1'],
    [2_200_000, 'hit', 'user_1'],
    [800_000, undefined, 'user_1'],
    [0, undefined, 'user_1'],
  ])
})

test('the room that is reserved for a record holds the longest', () => {
  const most = Number.MAX_SAFE_INTEGER
  const text = '\u4e2d'.repeat(200)
  const record = usageRecord(1, {
    startedAtMs: most,
    durationMs: 1e15 + 0.1,
    firstTokenMs: 1e15 + 0.1,
    errorCode: 'context_length_exceeded',
    promptTokens: most,
    completionTokens: most,
    cachedTokens: most,
    cost: most,
    cache: 'coalesced',
    status: 599,
    model: text,
    user: text,
    userId: text,
  })
  const { requestId, organisationId, projectId, keyId, route, instance } = record
  const texts = [requestId, organisationId, projectId, keyId, record.model, route, instance, text, text]
  // Three bytes for every character: as many as are reserved for each.
  const reserved = recordBytesMax(texts) - 2 * texts.slice(0, 4).join('').length
  expect(encodeRecord(record).length).toBeLessThanOrEqual(reserved)
})

test('a record of a program that knew no prices cost nothing', () => {
  const { cost: _, ...old } = usageRecord(1)
  const { records: read, damaged } = decodeRecords(Buffer.from(encodeRecord(old as UsageRecord)))
  expect(damaged).toBe(0)
  expect(read).toEqual([usageRecord(1)])
})
