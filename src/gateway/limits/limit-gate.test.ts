import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Identity } from '../../contracts/auth.ts'
import type { EffectiveLimit } from '../../contracts/limits.ts'
import { ChatRequest } from '../../contracts/openai/chat.ts'
import { NO_RIGHTS } from '../../contracts/permissions.ts'
import { ManualClock } from '../../core/clock.ts'
import { silentLog } from '../../core/log.ts'
import { noMetrics } from '../../core/metrics.ts'
import { noSpan } from '../../core/tracing.ts'
import { MemoryStore } from '../../limits/memory-store.ts'
import { Shaper } from '../../limits/shaper.ts'
import { chatExchange } from '../dispatch/chat-exchange.ts'
import { bindingsOf } from './bindings.ts'
import { LimitGate } from './limit-gate.ts'

const EXCHANGE = chatExchange(
  ChatRequest.parse({ model: 'm', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 10 }),
)

function rule(change: Partial<EffectiveLimit> = {}): EffectiveLimit {
  return {
    ruleId: 'rule_1',
    subject: { kind: 'organisation', id: 'org_a' },
    measure: 'requests',
    model: undefined,
    amount: 1,
    algorithm: 'fixed-window',
    windowMs: 60_000,
    burst: undefined,
    period: undefined,
    shapeMaxWaitMs: 0,
    ...change,
  }
}

function caller(...limits: readonly EffectiveLimit[]): Identity {
  return {
    actor: 'key:key_1',
    organisationId: 'org_a',
    projectId: 'proj_1',
    keyId: 'key_1',
    userId: undefined,
    rights: NO_RIGHTS,
    models: undefined,
    ipRules: undefined,
    limits,
    expiresAtMs: undefined,
    subjects: [],
  }
}

let requests = 0

function gateOf() {
  const clock = new ManualClock(1_700_000_040_000)
  const store = new MemoryStore(clock)
  const gate = new LimitGate({
    store,
    storeName: () => 'memory',
    shaper: new Shaper(clock),
    spend: { spent: async () => [0], reserveSpend: async () => undefined, releaseSpend: async () => {} },
    price: () => undefined,
    contextLength: () => undefined,
    outputTokens: 100,
    log: silentLog,
    clock,
    metrics: noMetrics,
  })
  const admit = (identity: Identity) =>
    Promise.resolve(
      gate.admit({
        span: noSpan,
        requestId: `r${++requests}`,
        identity,
        exchange: EXCHANGE,
        client: { gone: false, whenGone: () => () => {} },
      }),
    )
  return { clock, store, gate, admit }
}

test('a request that waits behind others whose rules are not its own is refused by its own', async () => {
  const { clock, admit } = gateOf()
  const shared = rule({ shapeMaxWaitMs: 5_000, windowMs: 4_000 })
  const other = caller(rule({ ruleId: 'rule_2', amount: 100 }), shared)
  const own = caller(shared)
  await admit(other)
  // Takes the next window before those who wait for it.
  clock.schedule(4_000, () => void admit(caller(rule({ windowMs: 4_000 }))))
  const ahead = admit(other)
  await turn()
  const behind = [admit(own), admit(own)]
  const outcomes = Promise.allSettled([ahead, ...behind])
  for (let step = 0; step < 60; step++) {
    clock.advance(100)
    await turn()
  }
  const reason = expect.objectContaining({
    code: 'rate_limit_exceeded',
    headers: expect.objectContaining({
      'x-ratelimit-limit-requests': '1',
      'x-ratelimit-remaining-requests': '0',
    }),
  })
  expect(await outcomes).toEqual([1, 2, 3].map(() => ({ status: 'rejected', reason })))
})

test('models that no rule names, which callers make up, are kept as one', () => {
  const identity = caller(rule(), rule({ ruleId: 'rule_2', model: 'm' }))
  const nowMs = 1_700_000_040_000
  const unnamed = bindingsOf(identity, 'x', nowMs)
  expect(bindingsOf(identity, 'y', nowMs)).toBe(unnamed)
  expect(unnamed.map(({ key }) => key)).toEqual(['rule_1/org_a#fixed-window'])
  expect(bindingsOf(identity, 'm', nowMs)).toHaveLength(2)
})

test('a gateway that stops tells those who wait for their turn to go elsewhere, and keeps nobody waiting', async () => {
  const { gate, admit } = gateOf()
  const waits = caller(rule({ shapeMaxWaitMs: 600_000 }))
  await admit(waits)
  const waiting = admit(waits)
  await turn()
  gate.stop()
  await expect(waiting).rejects.toMatchObject({ code: 'server_draining' })
  await expect(admit(waits)).rejects.toMatchObject({ code: 'rate_limit_exceeded' })
})

test('each attempt of a request that waits has a name of its own: a name that was settled is charged no more', async () => {
  const { clock, store, admit } = gateOf()
  const waits = caller(rule({ amount: 1, windowMs: 4_000, shapeMaxWaitMs: 5_000 }))
  const names: string[] = []
  const reserve = store.reserve.bind(store)
  store.reserve = (reservation) => {
    names.push(reservation.requestId)
    return reserve(reservation)
  }
  await admit(waits)
  const waiting = admit(waits)
  for (let step = 0; step < 50; step++) {
    clock.advance(100)
    await turn()
  }
  await waiting
  expect(names.length).toBeGreaterThan(2)
  expect(new Set(names).size).toBe(names.length)
})

test('a store that keeps nothing of what it is told makes a request with a budget fail, not ask for ever', async () => {
  const { store, admit } = gateOf()
  let asked = 0
  store.seed = () => void asked++
  const spends = caller(rule({ measure: 'money', period: 'day', windowMs: 0 }))
  await expect(admit(spends)).rejects.toMatchObject({ code: 'storage_unavailable' })
  expect(asked).toBeLessThan(10)
})

test('what is done beside a request is charged for its tokens, and is no request', async () => {
  const { gate } = gateOf()
  const limits = [
    rule({ ruleId: 'rule_r', amount: 10 }),
    rule({ ruleId: 'rule_t', measure: 'tokens', amount: 1_000, algorithm: 'fixed-window' }),
  ]
  const usage = { promptTokens: 30, completionTokens: 0, cachedTokens: 0 }
  gate.charge(caller(...limits), 'm', { requestId: 'embedding_1', usage })
  const left = await gate.explain('org_a', limits, 'm')
  expect(left.map(({ remaining }) => remaining)).toEqual([10, 970])
  gate.stop()
})
