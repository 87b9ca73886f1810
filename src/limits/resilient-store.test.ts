import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { SpendClient } from '../contracts/limits.ts'
import { ManualClock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { silentLog } from '../core/log.ts'
import { DatabaseBudgets } from './budget-fallback.ts'
import { MemoryStore } from './memory-store.ts'
import { ResilientStore } from './resilient-store.ts'
import type { Share } from './share.ts'
import type { Charge, Reservation } from './store.ts'

let requests = 0

function reservation(...charges: readonly Charge[]): Reservation {
  return { tenant: 'org_a', requestId: `r${++requests}`, charges, held: true }
}

function charge(change: Partial<Charge> = {}): Charge {
  const limit = change.limit ?? 10
  return { key: 'k', kind: 'token-bucket', limit, windowMs: 10_000, burst: limit, cost: 1, ...change }
}

function budget(cost: number): Charge {
  const spend = { subject: { kind: 'key', id: 'key_1' }, model: undefined, sinceMs: 0 } as const
  return charge({ key: 'b', kind: 'budget', windowMs: 0, cost, spend })
}

/** A store that can go away, and a database that answers when it is told to. */
function bench(share: Share = { gateways: 1, rank: 0 }) {
  const clock = new ManualClock(1_700_000_000_000)
  const central = new MemoryStore(clock)
  const state = { away: false, database: Promise.resolve() }
  const running = new Map<string, Reservation>()
  const reserved = new Map<string, number>()
  const reachable = () => {
    if (state.away) throw new HelixError('storage_unavailable', 'It is away.')
    return central
  }
  const spend: SpendClient = {
    spent: async (_, queries) => queries.map(() => 0),
    reserveSpend: async ({ requestId, claims }) => {
      await state.database
      const sum = [...reserved.values()].reduce((all, one) => all + one, 0)
      const refused = claims.findIndex(({ amount, cost }) => sum + cost > amount)
      if (refused >= 0) return refused
      reserved.set(requestId, claims[0]?.cost ?? 0)
      return undefined
    },
    releaseSpend: async (_, ids) => {
      for (const id of ids) reserved.delete(id)
    },
  }
  const common = { clock, log: silentLog, running: () => [...running.values()] }
  const store = new ResilientStore({
    ...common,
    shared: {
      reserve: async (one) => reachable().reserve(one),
      settle: async (one, costs) => reachable().settle(one, costs),
      renew: async (all) => reachable().renew(all),
      seed: async (tenant, one, spent) => reachable().seed(tenant, one, spent),
      peek: async (tenant, charges) => reachable().peek(tenant, charges),
    },
    probe: async () => reachable(),
    share: () => share,
    budgets: new DatabaseBudgets({ ...common, spend, requestDeadlineMs: 60_000 }),
    id: 'gateway_1',
    timeoutMs: 25,
    onOutage: () => {},
  })
  const comeBack = async () => {
    state.away = false
    clock.advance(200)
    for (let turns = 0; turns < 20 && store.away; turns++) await turn()
    expect(store.away).toBe(false)
  }
  const admit = async (one: Reservation) => {
    const { refused } = await store.reserve(one)
    if (refused === undefined) running.set(one.requestId, one)
    return refused
  }
  const end = async (one: Reservation, cost: number) => {
    running.delete(one.requestId)
    await store.settle(one, [cost])
  }
  return { clock, central, state, reserved, store, comeBack, admit, end }
}

test('what the database grants after the store is back is told to the store', async () => {
  const { central, state, comeBack, admit, end } = bench()
  central.seed('org_a', budget(0), 0)
  state.away = true
  let answer = () => {}
  state.database = new Promise((resolve) => {
    answer = resolve
  })
  const one = reservation(budget(4))
  const admitted = admit(one)
  await turn()
  await comeBack()
  answer()
  expect(await admitted).toBeUndefined()
  expect(central.peek('org_a', [budget(0)])).toMatchObject([{ remaining: 6 }])
  await end(one, 3)
  expect(central.peek('org_a', [budget(0)])).toMatchObject([{ remaining: 7 }])
})

test('what the database reserved is not held to be reserved a second time', async () => {
  const { state, admit } = bench()
  state.away = true
  const granted: unknown[] = []
  for (let asked = 0; asked < 12; asked++) granted.push(await admit(reservation(budget(1))))
  expect(granted.filter((refused) => refused === undefined)).toHaveLength(10)
})

test('what was reserved in the database is given back there, also when the store is back before it ends', async () => {
  const { clock, central, state, reserved, comeBack, admit, end } = bench()
  central.seed('org_a', budget(0), 0)
  state.away = true
  const one = reservation(budget(4))
  await admit(one)
  expect(reserved.size).toBe(1)
  await comeBack()
  await end(one, 1)
  clock.advance(10_000)
  expect(reserved.size).toBe(0)
})

test('a gateway whose share is nothing says when to come back, in numbers', async () => {
  const { state, store } = bench({ gateways: 2, rank: 1 })
  state.away = true
  const verdict = await store.reserve(reservation(charge({ limit: 1 })))
  expect(verdict).toMatchObject({
    refused: 0,
    waitMs: 10_000,
    standings: [{ remaining: 0, resetMs: 10_000 }],
  })
  expect(await store.peek('org_a', [charge({ limit: 1, burst: 4 })])).toMatchObject([{ resetMs: 10_000 }])
})

/** Of ten requests to a gateway without its store, how many are granted. */
async function grantedAlone({ state, store }: ReturnType<typeof bench>, one: Charge): Promise<number> {
  state.away = true
  let granted = 0
  for (let asked = 0; asked < 10; asked++) {
    if ((await store.reserve(reservation(one))).refused === undefined) granted++
  }
  return granted
}

const LIMITED = (['token-bucket', 'sliding-window', 'fixed-window'] as const).map((kind) =>
  charge({ kind, windowMs: 3_600_000 }),
)
const SHARE = { gateways: 2, rank: 0 }

test.each(LIMITED)('without its store a gateway that heard nothing has its share: $kind', async (one) => {
  const all = bench(SHARE)
  all.central.reserve(reservation({ ...one, cost: 9 }))
  expect(await grantedAlone(all, one)).toBe(5)
})

test.each(LIMITED)(
  'what it used itself is used, and nothing more is granted than its share: $kind',
  async (one) => {
    const all = bench(SHARE)
    await all.admit(reservation({ ...one, cost: 3 }))
    expect(await grantedAlone(all, one)).toBe(2)
  },
)

test.each(LIMITED)('of what it heard to be left it takes no more than its part: $kind', async (one) => {
  const all = bench(SHARE)
  all.central.reserve(reservation({ ...one, cost: 5 }))
  await all.admit(reservation(one))
  expect(await grantedAlone(all, one)).toBe(2)
})

test.each(LIMITED)('what others take of a counter in use is known within two seconds: $kind', async (one) => {
  const all = bench(SHARE)
  await all.admit(reservation(one))
  all.central.reserve(reservation({ ...one, cost: 9 }))
  all.clock.advance(1_000)
  await all.store.refresh()
  expect(await grantedAlone(all, one)).toBe(0)
})

test('a log that was full a minute ago may be empty; a window of the clock that was full is full to its end', async () => {
  const all = bench(SHARE)
  const [, log, window] = LIMITED.map((one) => ({ ...one, key: one.kind, cost: 10 })) as [
    Charge,
    Charge,
    Charge,
  ]
  for (const one of [log, window]) {
    all.central.reserve(reservation(one))
    await all.admit(reservation(one))
  }
  all.clock.advance(61_000)
  expect(await grantedAlone(all, { ...log, cost: 1 })).toBe(5)
  expect(await grantedAlone(all, { ...window, cost: 1 })).toBe(0)
})
