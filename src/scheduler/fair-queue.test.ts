import { describe, expect, test } from 'vitest'
import { type Random, seededRandom } from '../core/random.ts'
import { FairQueue, TOKEN_WEIGHTS, type Turn, tokenCost } from './fair-queue.ts'
import type { Tier } from './tier.ts'

interface Request extends Turn {
  readonly id: number
  /** What it really takes. */
  readonly actual: number
}

const AGE_MS = 10_000

let made = 0
function request(change: Partial<Request> = {}): Request {
  const cost = change.cost ?? 100
  const whole = { tenant: 'a', tier: 'default' as const, deadlineMs: 60_000, predictedMs: 0 }
  return { ...whole, cost, actual: cost, ...change, id: made++ }
}

function queueOf(by: 'tokens' | 'arrival', ...requests: readonly Request[]): FairQueue<Request> {
  const queue = new FairQueue<Request>({ by, ageMs: AGE_MS })
  for (const one of requests) queue.add(one, 0)
  return queue
}

function answered(queue: FairQueue<Request>, one: Request): void {
  queue.start(one)
  queue.settle(one, one.actual)
}

/** All that wait, in the order in which they get their turn. */
function served(queue: FairQueue<Request>, nowMs = 0): Request[] {
  const order: Request[] = []
  for (let next = queue.next(nowMs); next; next = queue.next(nowMs)) {
    queue.start(next)
    order.push(next)
  }
  return order
}

const L_IN = 400
const L_OUT = 200
const SLOTS = 8
/** 2 max(w_in L_in, w_out M), where M is what all slots hold at most. */
const VTC_BOUND = 2 * Math.max(TOKEN_WEIGHTS.prompt * L_IN, TOKEN_WEIGHTS.completion * SLOTS * (L_IN + L_OUT))

function randomRequest(random: Random, tenant: string): Request {
  const tokens = (largest: number) => 1 + Math.floor(random.uniform() * largest)
  const promptTokens = tokens(L_IN)
  const actual = tokenCost({ promptTokens, completionTokens: tokens(L_OUT), cachedTokens: 0 })
  // Nobody knows beforehand how long an answer becomes.
  const cost = tokenCost({ promptTokens, completionTokens: tokens(L_OUT), cachedTokens: 0 })
  return request({ tenant, cost, actual })
}

/**
 * Slots that work off the queue while every tenant keeps as many requests waiting as it is said to. Tells after every end
 * what each tenant has got by then, of what is at work the part that is done.
 */
function work(
  queue: FairQueue<Request>,
  random: Random,
  backlog: Readonly<Record<string, number>>,
  tell: (got: ReadonlyMap<string, number>) => void,
): void {
  const waiting = new Map(Object.keys(backlog).map((tenant) => [tenant, 0]))
  const done = new Map(Object.keys(backlog).map((tenant) => [tenant, 0]))
  let running: { one: Request; startMs: number; endMs: number }[] = []
  for (let nowMs = 0, ended = 0; ended < 1_500; ) {
    for (const [tenant, count] of Object.entries(backlog)) {
      for (let have = waiting.get(tenant) ?? 0; have < count; have++)
        queue.add(randomRequest(random, tenant), nowMs)
      waiting.set(tenant, count)
    }
    while (running.length < SLOTS) {
      const one = queue.next(nowMs)
      if (!one) break
      queue.start(one)
      waiting.set(one.tenant, (waiting.get(one.tenant) ?? 0) - 1)
      running.push({ one, startMs: nowMs, endMs: nowMs + one.actual })
    }
    const first = running.reduce((least, entry) => (entry.endMs < least.endMs ? entry : least))
    nowMs = first.endMs
    running = running.filter((entry) => entry !== first)
    queue.settle(first.one, first.one.actual)
    done.set(first.one.tenant, (done.get(first.one.tenant) ?? 0) + first.one.actual)
    ended++
    const got = new Map(done)
    for (const { one, startMs } of running) got.set(one.tenant, (got.get(one.tenant) ?? 0) + nowMs - startMs)
    tell(got)
  }
}

function largestGap(by: 'tokens' | 'arrival', seed: number): number {
  let largest = 0
  const backlog = { flood: 60, steady: 3, calm: 1 + SLOTS }
  work(queueOf(by), seededRandom(seed), backlog, (got) => {
    largest = Math.max(largest, Math.max(...got.values()) - Math.min(...got.values()))
  })
  return largest
}

describe('tenants that always have somebody waiting', () => {
  test.each([1, 2, 3, 4, 5])(
    'never differ in what they got by more than the bound of VTC (seed %i)',
    (seed) => {
      expect(largestGap('tokens', seed)).toBeLessThanOrEqual(VTC_BOUND)
    },
  )

  test('differ by far more when whoever came first is next', () => {
    expect(largestGap('arrival', 1)).toBeGreaterThan(4 * VTC_BOUND)
  })
})

describe('a tenant', () => {
  test('that floods the queue does not make another wait for all of it', () => {
    const flood = Array.from({ length: 50 }, () => request({ tenant: 'flood' }))
    const calm = request({ tenant: 'calm' })
    expect(served(queueOf('tokens', ...flood, calm)).indexOf(calm)).toBe(1)
  })

  test('earns nothing by idling', () => {
    const busy = Array.from({ length: 40 }, () => request({ tenant: 'busy' }))
    const queue = queueOf('tokens', ...busy)
    for (let turn = 0; turn < 20; turn++) answered(queue, queue.next(0) ?? request())
    for (let count = 0; count < 10; count++) queue.add(request({ tenant: 'idle' }), 0)
    const tenants = served(queue).map(({ tenant }) => tenant)
    // Turn and turn about from where the other is.
    expect(tenants.slice(0, 20).filter((tenant) => tenant === 'idle')).toHaveLength(10)
  })

  test('that had the machine to itself owes nothing for it', () => {
    const queue = queueOf('tokens')
    for (let count = 0; count < 100; count++) answered(queue, request({ tenant: 'early' }))
    for (let count = 0; count < 4; count++)
      for (const tenant of ['late', 'early']) queue.add(request({ tenant }), 0)
    const tenants = served(queue).map(({ tenant }) => tenant)
    expect(tenants.slice(0, 4).filter((tenant) => tenant === 'early')).toHaveLength(2)
  })

  test('is not held back by what others were thought to need', () => {
    const flood = Array.from({ length: 50 }, () => request({ tenant: 'flood', cost: 1_000, actual: 10 }))
    const queue = queueOf('tokens', ...flood)
    const first = queue.next(0) ?? request()
    queue.start(first)
    const order: string[] = []
    for (let count = 0; count < 5; count++) {
      queue.add(request({ tenant: 'calm', cost: 1_000, actual: 10 }), 0)
      if (count === 0) queue.settle(first, 10)
      for (let next = queue.next(0); next; next = next.tenant === 'calm' ? undefined : queue.next(0)) {
        answered(queue, next)
        order.push(next.tenant)
      }
    }
    expect(order.filter((tenant) => tenant === 'flood').length).toBeLessThanOrEqual(5)
  })

  test('gets back what it was charged too much', () => {
    const long = request({ tenant: 'a', cost: 1_000 })
    const others = Array.from({ length: 5 }, () => request({ tenant: 'b' }))
    const queue = queueOf('tokens', long, ...others, request({ tenant: 'a' }))
    queue.start(long)
    queue.settle(long, 10)
    expect(queue.next(0)?.tenant).toBe('b')
    queue.start(queue.next(0) ?? request())
    expect(queue.next(0)?.tenant).toBe('a')
  })

  test('whose requests all come to nothing does not stay the first', () => {
    const failing = Array.from({ length: 10 }, () => request({ tenant: 'failing' }))
    const queue = queueOf('tokens', ...failing, request({ tenant: 'other' }))
    const tenants: string[] = []
    for (let next = queue.next(0); next; next = queue.next(0)) {
      queue.start(next)
      queue.settle(next, 0)
      tenants.push(next.tenant)
    }
    expect(tenants.indexOf('other')).toBeLessThanOrEqual(1)
  })

  test('that fills the queue gives places up to one that has fewer, its last ones first', () => {
    const many = [1, 2, 3, 4].map((second) => request({ tenant: 'many', deadlineMs: second * 1_000 }))
    const queue = queueOf('tokens', ...many, request({ tenant: 'few' }), request({ tenant: 'few' }))
    expect(queue.displacedBy(request({ tenant: 'new' }))).toBe(many[3])
    expect(queue.displacedBy(request({ tenant: 'few' }))).toBe(many[3])
    expect(queue.displacedBy(request({ tenant: 'many' }))).toBeUndefined()
    for (const one of many.slice(2)) queue.remove(one)
    expect(queue.displacedBy(request({ tenant: 'few' }))).toBeUndefined()
    expect(queueOf('arrival', ...many).displacedBy(request({ tenant: 'new' }))).toBeUndefined()
  })

  test('is forgotten once it would come back level with the others anyway', () => {
    const queue = queueOf('tokens')
    for (let count = 0; count < 5_000; count++) answered(queue, request({ tenant: `t${count}` }))
    expect(queue.counterOf('t0')).toBeUndefined()
    expect(queue.counterOf('t4999')).toBeGreaterThan(0)
  })
})

describe('inside a tenant', () => {
  test('the least slack is first, then the one that came first', () => {
    const one = request({ deadlineMs: 9_000 })
    const two = request({ deadlineMs: 9_000 })
    const long = request({ deadlineMs: 10_000, predictedMs: 5_000 })
    expect(served(queueOf('tokens', one, two, long))).toEqual([long, one, two])
  })

  test('priority comes first and flex last', () => {
    const tiers: readonly Tier[] = ['flex', 'default', 'priority']
    const queue = queueOf('tokens', ...tiers.map((tier) => request({ tier })))
    expect(served(queue).map(({ tier }) => tier)).toEqual(['priority', 'default', 'flex'])
  })

  test('a stream of priority requests does not starve what has waited long enough', () => {
    const patient = request({ deadlineMs: 60_000 })
    const queue = queueOf('tokens', patient)
    let nowMs = 0
    for (let next: Request | undefined; next !== patient; nowMs += 100) {
      queue.add(request({ tier: 'priority', deadlineMs: nowMs + 60_000 }), nowMs)
      next = queue.next(nowMs)
      if (next) queue.start(next)
      expect(nowMs).toBeLessThanOrEqual(AGE_MS)
    }
  })
})

describe('between tenants', () => {
  test("one's priorities do not overtake the other's requests", () => {
    const loud = Array.from({ length: 6 }, () => request({ tenant: 'loud', tier: 'priority' }))
    const modest = Array.from({ length: 6 }, () => request({ tenant: 'modest' }))
    const tenants = served(queueOf('tokens', ...loud, ...modest)).map(({ tenant }) => tenant)
    expect(tenants.slice(0, 6).filter((tenant) => tenant === 'modest')).toHaveLength(3)
  })

  test('flex waits for all that is not, and not for ever', () => {
    const flex = request({ tenant: 'batch', tier: 'flex' })
    const queue = queueOf('tokens', flex)
    let nowMs = 0
    for (let next: Request | undefined; next !== flex; nowMs += 100) {
      queue.add(request({ tenant: 'live', deadlineMs: nowMs + 60_000 }), nowMs)
      next = queue.next(nowMs)
      if (next) queue.start(next)
      if (nowMs < AGE_MS) expect(next).not.toBe(flex)
      // Then it is its tenant's turn as soon as that had less.
      expect(nowMs).toBeLessThanOrEqual(AGE_MS + 200)
    }
  })
})

describe('by arrival', () => {
  test('whoever came first is first, whatever its tenant, tier and deadline', () => {
    const random = seededRandom(7)
    const requests = Array.from({ length: 200 }, () =>
      request({
        tenant: `t${Math.floor(random.uniform() * 5)}`,
        tier: random.uniform() < 0.5 ? 'flex' : 'priority',
        deadlineMs: random.uniform() * 10_000,
      }),
    )
    expect(served(queueOf('arrival', ...requests), 2 * AGE_MS)).toEqual(requests)
  })
})

/** Comings, goings and turns in a random order. */
function randomRun(seed: number) {
  const random = seededRandom(seed)
  const queue = queueOf('tokens')
  const came: Request[] = []
  const left = new Set<Request>()
  const started: Request[] = []
  let nowMs = 0
  for (let step = 0; step < 800; step++) {
    nowMs += Math.floor(random.uniform() * 200)
    const what = random.uniform()
    if (what < 0.5) {
      const tier = (['priority', 'default', 'flex'] as const)[Math.floor(random.uniform() * 3)] ?? 'flex'
      const tenant = `t${Math.floor(random.uniform() ** 3 * 8)}`
      const one = { ...randomRequest(random, tenant), tier, deadlineMs: nowMs + 60_000 }
      came.push(one)
      queue.add(one, nowMs)
    } else if (what < 0.65) {
      const one = came[Math.floor(random.uniform() * came.length)]
      if (one && queue.remove(one)) left.add(one)
    } else {
      const one = queue.next(nowMs)
      expect(one).toBe(queue.line()[0])
      if (!one) continue
      queue.start(one)
      started.push(one)
      if (random.uniform() < 0.8) queue.settle(one, one.actual)
    }
    expect(queue.line()).toHaveLength(queue.size)
    expect(came.length).toBe(left.size + started.length + queue.size)
  }
  started.push(...served(queue, nowMs))
  return { came, left, started }
}

describe('whatever comes, goes and is served', () => {
  test.each([1, 2, 3])('everybody who stayed is served once, and nobody who left (seed %i)', (seed) => {
    const { came, left, started } = randomRun(seed)
    expect(new Set(started).size).toBe(started.length)
    expect(new Set(started)).toEqual(new Set(came.filter((one) => !left.has(one))))
  })

  test('the same happenings give the same order', () => {
    const order = () => {
      made = 0
      return randomRun(11).started.map(({ id }) => id)
    }
    expect(order()).toEqual(order())
  })
})

test('what was read before costs a tenth, what is written twice as much', () => {
  expect(tokenCost({ promptTokens: 100, completionTokens: 0, cachedTokens: 0 })).toBe(100)
  expect(tokenCost({ promptTokens: 100, completionTokens: 10, cachedTokens: 100 })).toBe(30)
})
