import { beforeEach, describe, expect, test } from 'vitest'
import type { ModelDemand, PoolClient, Replica } from '../../contracts/pool.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { type Metrics, noMetrics } from '../../core/metrics.ts'
import { noSpan } from '../../core/tracing.ts'
import type { Lease, Want } from './lease.ts'
import { promptBlocks } from './prompt-blocks.ts'
import { Router, type RouterOptions } from './router.ts'
import { NO_USAGE, type Usage } from './usage.ts'

function replica(id: string, model: string, slots: number): Replica {
  const address = { url: 'http://localhost', socketPath: undefined, apiKey: undefined }
  return {
    id,
    model,
    engineModel: model,
    engine: 'upstream',
    address,
    slots,
    contextLength: undefined,
    supportsTools: undefined,
    continues: false,
    vocabularySize: undefined,
    revision: 'r1',
  }
}

/** A pool by hand: the test decides when a replica comes and goes. */
class HandPool {
  acquired: { model: string; resolve: () => void; reject: (error: unknown) => void }[] = []
  uses: [string, number][] = []
  demand: (readonly ModelDemand[])[] = []
  private listener: (replicas: readonly Replica[]) => void = () => {}

  publish(...replicas: Replica[]): void {
    this.listener(replicas)
  }

  client(): PoolClient {
    const unused = () => expect.unreachable('the router does not ask this')
    return {
      listModels: unused,
      showModel: unused,
      revision: unused,
      load: unused,
      unload: unused,
      explain: unused,
      listDevices: unused,
      planMoves: unused,
      journal: unused,
      defragment: unused,
      reportDemand: (demand) => void this.demand.push(demand),
      unavailability: unused,
      acquire: (model, signal) =>
        new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
          this.acquired.push({ model, resolve, reject })
        }),
      explainWait: async () => ({ code: 'model_loading', reason: 'loading m since 3 s', remainingMs: 2_000 }),
      watchReplicas: (listener) => {
        this.listener = listener
        listener([])
        return () => {}
      },
      reportUse: (id, inFlight) => void this.uses.push([id, inFlight]),
    }
  }
}

let clock: ManualClock
let pool: HandPool
let router: Router
const never = new AbortController().signal

beforeEach(() => {
  clock = new ManualClock()
  pool = new HandPool()
  observed = []
  router = makeRouter()
})

/** What was observed, as a line each. */
let observed: string[] = []
const metrics: Metrics = {
  ...noMetrics,
  set: (name, labels, value) => void observed.push(`${name} ${Object.values(labels)} ${value}`),
  observe: (name, labels, value) => void observed.push(`${name} ${Object.values(labels)} ${value}`),
}

function makeRouter(change: Partial<RouterOptions> = {}): Router {
  return new Router({
    pool: pool.client(),
    clock,
    metrics,
    fairness: 'tokens',
    queueMax: 2,
    queueTimeoutMs: 5_000,
    loadWaitMs: 30_000,
    ...change,
  })
}

function wanted(change: Partial<Want> = {}): Want {
  return {
    model: 'm',
    slots: 1,
    signal: new AbortController().signal,
    span: noSpan,
    tenant: 'proj_a',
    tier: 'default',
    deadlineMs: undefined,
    promptTokens: 100,
    outputTokensMax: 100,
    avoid: new Set(),
    blocks: () => [],
    used: () => NO_USAGE,
    ...change,
  }
}

const want = (slots = 1, signal = never): Promise<Lease> => router.lease(wanted({ slots, signal }))
const settle = () => new Promise((resolve) => setImmediate(resolve))

async function codeOf(lease: Promise<Lease>): Promise<string> {
  const reason = await lease.then(
    () => expect.unreachable('the lease was granted'),
    (error: unknown) => error,
  )
  expect(reason).toBeInstanceOf(HelixError)
  return (reason as HelixError).code
}

describe('a replica', () => {
  test('with the smallest share of slots in use is chosen', async () => {
    pool.publish(replica('small', 'm', 2), replica('large', 'm', 4))
    const chosen = await Promise.all([want(), want(), want(), want()])
    expect(chosen.map((lease) => lease.replica.id)).toEqual(['small', 'large', 'large', 'small'])
  })

  test('never has more requests than slots; the next in the queue gets the one that comes free', async () => {
    pool.publish(replica('a', 'm', 1))
    const first = await want()
    const order: string[] = []
    const noted = (name: string) => (lease: Lease) => {
      order.push(name)
      return lease
    }
    const second = want().then(noted('second'))
    const third = want().then(noted('third'))
    await settle()
    expect(order).toEqual([])
    first.release()
    first.release()
    ;(await second).release()
    await third
    expect(order).toEqual(['second', 'third'])
  })

  test('tells the pool of each change of the slots in use', async () => {
    pool.publish(replica('a', 'm', 2))
    const [one, two] = await Promise.all([want(), want()])
    one?.release()
    two?.release()
    expect(pool.uses).toEqual([
      ['a', 1],
      ['a', 2],
      ['a', 1],
      ['a', 0],
    ])
  })

  test('that left the table takes no new request and ends the ones it has', async () => {
    pool.publish(replica('a', 'm', 2))
    const old = await want()
    pool.publish(replica('b', 'm', 2))
    expect((await want()).replica.id).toBe('b')
    old.release()
    expect(pool.uses.at(-1)).toEqual(['a', 0])
  })

  test('that broke a connection is passed over for a moment', async () => {
    pool.publish(replica('a', 'm', 2), replica('b', 'm', 2))
    router.suspect('a')
    const chosen = [await want(), await want()]
    expect(chosen.map((lease) => lease.replica.id)).toEqual(['b', 'b'])
    clock.advance(1_001)
    expect((await want()).replica.id).toBe('a')
  })
})

describe('a request', () => {
  test('of more choices than a replica has slots takes all of them', async () => {
    pool.publish(replica('a', 'm', 2))
    const large = await want(5)
    const next = want()
    await settle()
    large.release()
    expect((await next).replica.id).toBe('a')
  })

  test('is not overtaken by a smaller one', async () => {
    pool.publish(replica('a', 'm', 2))
    const busy = await want()
    const order: string[] = []
    void want(2).then((lease) => {
      order.push('large')
      lease.release()
    })
    const small = want().then(() => order.push('small'))
    await settle()
    busy.release()
    await small
    expect(order).toEqual(['large', 'small'])
  })

  test('is refused when the queue is full', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    void want().catch(() => {})
    void want().catch(() => {})
    expect(await codeOf(want())).toBe('server_overloaded')
  })

  test('leaves the queue after the queue timeout', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    const waiting = codeOf(want())
    await settle()
    clock.advance(5_000)
    expect(await waiting).toBe('queue_timeout')
  })

  test('that is cancelled frees its place', async () => {
    pool.publish(replica('a', 'm', 1))
    const busy = await want()
    const cancel = new AbortController()
    const cancelled = want(1, cancel.signal)
    const next = want()
    await settle()
    cancel.abort(new HelixError('client_closed_request', 'gone'))
    expect(await codeOf(cancelled)).toBe('client_closed_request')
    busy.release()
    expect((await next).replica.id).toBe('a')
  })

  test('waits for its model to load', async () => {
    const lease = want()
    await settle()
    expect(pool.acquired.map(({ model }) => model)).toEqual(['m'])
    pool.publish(replica('a', 'm', 1))
    pool.acquired[0]?.resolve()
    expect((await lease).replica.id).toBe('a')
  })

  test('whose model does not load in time is told how long to wait', async () => {
    const lease = want().catch((error: HelixError) => error)
    await settle()
    clock.advance(30_000)
    expect(await lease).toMatchObject({ code: 'model_loading', retryAfterMs: 2_000 })
  })

  test('in the queue of a replica that goes away waits for the next one', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    const waiting = want()
    await settle()
    pool.publish()
    await settle()
    pool.publish(replica('b', 'm', 1))
    pool.acquired.at(-1)?.resolve()
    expect((await waiting).replica.id).toBe('b')
  })
})

/** Takes a slot, waits its turn where it must, notes it and gives the slot back when told to. */
function lineUp(order: string[], name: string, change: Partial<Want>): void {
  void router.lease(wanted(change)).then((lease) => {
    order.push(name)
    setImmediate(() => lease.release())
  })
}

async function inOrder(order: string[], count: number): Promise<string[]> {
  await expect.poll(() => order.length).toBe(count)
  return order
}

describe('the queue', () => {
  beforeEach(() => {
    router = makeRouter({ queueMax: 100 })
    pool.publish(replica('a', 'm', 1))
  })

  test('lets a tenant that asks little pass one that floods it', async () => {
    const busy = await want()
    const order: string[] = []
    for (let count = 0; count < 20; count++) lineUp(order, 'flood', { tenant: 'proj_flood' })
    lineUp(order, 'calm', { tenant: 'proj_calm' })
    await settle()
    busy.release()
    expect((await inOrder(order, 21)).indexOf('calm')).toBe(1)
  })

  test('that one tenant has filled takes in another, for the last of the first', async () => {
    router = makeRouter({ queueMax: 3 })
    pool.publish(replica('a', 'm', 1))
    const busy = await want()
    const flood = [1, 2, 3].map(() => router.lease(wanted({ tenant: 'proj_flood' })))
    const displaced = codeOf(flood[2] ?? want())
    const order: string[] = []
    lineUp(order, 'calm', { tenant: 'proj_calm' })
    expect(await displaced).toBe('server_overloaded')
    expect(await codeOf(router.lease(wanted({ tenant: 'proj_flood' })))).toBe('server_overloaded')
    busy.release()
    ;(await flood[0])?.release()
    ;(await flood[1])?.release()
    expect(await inOrder(order, 1)).toEqual(['calm'])
  })

  test('is one line where fairness goes by arrival', async () => {
    router = makeRouter({ queueMax: 100, fairness: 'arrival' })
    pool.publish(replica('a', 'm', 1))
    const busy = await want()
    const order: string[] = []
    for (let count = 0; count < 20; count++) lineUp(order, 'flood', { tenant: 'proj_flood' })
    lineUp(order, 'calm', { tenant: 'proj_calm', tier: 'priority' })
    await settle()
    busy.release()
    expect((await inOrder(order, 21)).indexOf('calm')).toBe(20)
  })

  test('counts what a request has really used, not what it might have', async () => {
    const busy = await want()
    const order: string[] = []
    const used = (completionTokens: number) => (): Usage => ({ ...NO_USAGE, completionTokens })
    for (let count = 0; count < 4; count++) {
      lineUp(order, 'long', { tenant: 'proj_a', used: used(1_000) })
      lineUp(order, 'short', { tenant: 'proj_b', used: used(10) })
    }
    await settle()
    busy.release()
    // One long one is more than all the short ones.
    expect((await inOrder(order, 8)).slice(0, 5).filter((name) => name === 'long')).toHaveLength(1)
  })

  test('serves priority before the rest of its tenant, and flex after everybody', async () => {
    const busy = await want()
    const order: string[] = []
    lineUp(order, 'flex', { tier: 'flex', tenant: 'proj_b' })
    lineUp(order, 'default', {})
    lineUp(order, 'priority', { tier: 'priority' })
    await settle()
    busy.release()
    expect(await inOrder(order, 3)).toEqual(['priority', 'default', 'flex'])
  })

  test('tells whoever waits its place and what for', async () => {
    const busy = await want()
    const first = wanted({ tenant: 'proj_b' })
    const second = wanted()
    for (const one of [first, second]) void router.lease(one).then((lease) => lease.release())
    await settle()
    expect(await router.explainWait(first)).toBe('place 1 of 2 for m, all its slots are in use')
    expect(await router.explainWait(second)).toBe('place 2 of 2 for m, all its slots are in use')
    busy.release()
  })

  test('names the place in the refusal of who waited too long', async () => {
    await want()
    const refused = want().catch((error: HelixError) => error.message)
    await settle()
    clock.advance(5_000)
    expect(await refused).toContain('(place 1 of 1 for m)')
  })

  test('counts in metrics how long it took and how many wait', async () => {
    const busy = await want()
    const waiting = want()
    await settle()
    clock.advance(1_500)
    busy.release()
    await waiting
    expect(observed).toEqual([
      'helixflow_queue_wait_seconds m 0',
      'helixflow_queue_depth m 1',
      'helixflow_queue_wait_seconds m 1.5',
    ])
  })
})

describe('while a model loads', () => {
  test('all who want it wait for one load, in the fair order, and are told so', async () => {
    router = makeRouter({ queueMax: 100 })
    const order: string[] = []
    for (let count = 0; count < 5; count++) lineUp(order, 'flood', { tenant: 'proj_flood' })
    const calm = wanted({ tenant: 'proj_calm' })
    void router.lease(calm).then((lease) => {
      order.push('calm')
      lease.release()
    })
    await settle()
    expect(pool.acquired).toHaveLength(1)
    expect(await router.explainWait(calm)).toBe('place 2 of 6 for m, loading m since 3 s')
    pool.publish(replica('a', 'm', 1))
    pool.acquired[0]?.resolve()
    expect((await inOrder(order, 6)).indexOf('calm')).toBe(1)
  })

  test('who waits is told its place although the pool does not say what for', async () => {
    const silent = async () => {
      throw new HelixError('pool_unavailable', 'No pool leads.')
    }
    router = makeRouter({ pool: { ...pool.client(), explainWait: silent } })
    const waiting = wanted()
    void router.lease(waiting)
    expect(await router.explainWait(waiting)).toBe('place 1 of 1 for m')
  })

  test('the pool is not asked any longer once the last who waited has left', async () => {
    const cancel = new AbortController()
    const waiting = codeOf(want(1, cancel.signal))
    await settle()
    cancel.abort(new HelixError('client_closed_request', 'gone'))
    expect(await waiting).toBe('client_closed_request')
    const later = want()
    await settle()
    // A new wait is a new question.
    expect(pool.acquired).toHaveLength(2)
    pool.publish(replica('a', 'm', 1))
    pool.acquired[1]?.resolve()
    expect((await later).replica.id).toBe('a')
  })

  test('what the pool refuses is refused to all who wait', async () => {
    const waiting = [want(), want()].map(codeOf)
    await settle()
    pool.acquired[0]?.reject(new HelixError('insufficient_memory', 'no room'))
    expect(await Promise.all(waiting)).toEqual(['insufficient_memory', 'insufficient_memory'])
  })
})

describe('the slots of a replica', () => {
  test('that grow are used at once', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    const waiting = want()
    await settle()
    pool.publish(replica('a', 'm', 2))
    expect((await waiting).replica.id).toBe('a')
  })

  test('that shrink are not handed out again until few enough are in use', async () => {
    router = makeRouter({ queueMax: 10 })
    pool.publish(replica('a', 'm', 3))
    const [one, two, three] = await Promise.all([want(), want(), want()])
    pool.publish(replica('a', 'm', 1))
    let granted = false
    const waiting = want().then(() => {
      granted = true
    })
    one?.release()
    two?.release()
    await settle()
    expect(granted).toBe(false)
    three?.release()
    await waiting
  })

  test('that are all taken away serve nobody, until there are some again', async () => {
    pool.publish(replica('a', 'm', 0))
    let granted = false
    const waiting = want().then(() => {
      granted = true
    })
    await settle()
    expect(granted).toBe(false)
    pool.publish(replica('a', 'm', 1))
    await waiting
  })
})

describe('among replicas', () => {
  const conversation = (turns: number, who = 'x') => `${who} `.repeat(512 * turns)
  const asking = (prompt: string, tenant = 'proj_a') =>
    router.lease(
      wanted({ tenant, promptTokens: prompt.length / 4, blocks: () => promptBlocks(tenant, prompt) }),
    )

  beforeEach(() => {
    router = makeRouter()
    pool.publish(replica('a', 'm', 4), replica('b', 'm', 4), replica('c', 'm', 4))
  })

  test('a conversation comes back to the one that knows it', async () => {
    const homes = new Map<string, string>()
    for (const who of ['x', 'y', 'z']) {
      const lease = await asking(conversation(1, who))
      homes.set(who, lease.replica.id)
    }
    expect(new Set(homes.values()).size).toBe(3)
    for (const who of ['z', 'x', 'y']) {
      const lease = await asking(conversation(2, who))
      expect([lease.replica.id, lease.route]).toEqual([homes.get(who), 'prefix'])
      lease.release()
    }
  })

  test('nothing is known of what another tenant said', async () => {
    ;(await asking(conversation(4))).release()
    const other = await asking(conversation(4), 'proj_b')
    expect(other.route).toBe('least-load')
  })

  test('one that came back after it was gone has forgotten everything', async () => {
    const home = await asking(conversation(4))
    home.release()
    pool.publish(replica('b', 'm', 4), replica('c', 'm', 4))
    pool.publish(replica('a', 'm', 4), replica('b', 'm', 4), replica('c', 'm', 4))
    expect((await asking(conversation(4))).route).toBe('least-load')
  })

  test('with slots without number remember no more than memory for that is there', async () => {
    pool.publish(replica('a', 'm', 100_000), replica('b', 'm', 100_000))
    const prompt = (who: number) => Array.from({ length: 1_024 }, (_, at) => `${who}:${at}`)
    const say = (who: number) => router.lease(wanted({ blocks: () => prompt(who) }))
    for (let who = 0; who < 200; who++) (await say(who)).release()
    expect((await say(199)).route).toBe('prefix')
    expect((await say(0)).route).toBe('least-load')
  })

  test('one that may not be used at the moment gets nothing until it may', async () => {
    let usable = false
    router = makeRouter({ usable: ({ id }) => id !== 'a' || usable })
    pool.publish(replica('a', 'm', 1))
    const waiting = want()
    await settle()
    expect(pool.acquired).toHaveLength(1)
    usable = true
    router.changed()
    expect((await waiting).replica.id).toBe('a')
  })

  test('a prompt is not looked at where there is one', async () => {
    pool.publish(replica('a', 'm', 4))
    const lease = await router.lease(wanted({ blocks: () => expect.unreachable('it has no choice') }))
    expect(lease.route).toBe('only')
  })
})

describe('what is asked of models', () => {
  test('is told once a second, and once more when it has ended', async () => {
    pool.publish(replica('a', 'm', 1))
    const busy = await want()
    const waiting = want()
    await settle()
    clock.advance(1_000)
    busy.release()
    const last = await waiting
    clock.advance(1_000)
    last.release()
    clock.advance(10_000)
    expect(pool.demand).toEqual([
      [{ model: 'm', arrivals: 2, inFlight: 1, queued: 1 }],
      [{ model: 'm', arrivals: 0, inFlight: 1, queued: 0 }],
      [{ model: 'm', arrivals: 0, inFlight: 0, queued: 0 }],
    ])
  })

  test('makes no metric of a name that the pool has yet to find', async () => {
    const refused = codeOf(want())
    await settle()
    // Counted just while the pool looks for it: a caller who asks for many names would make metrics of some.
    clock.advance(1_000)
    pool.acquired[0]?.reject(new HelixError('model_not_found', 'no such model'))
    expect(await refused).toBe('model_not_found')
    clock.advance(10_000)
    expect(observed).toEqual([])
  })

  test('is a metric while a model loads', async () => {
    void want()
    await settle()
    clock.advance(1_000)
    clock.advance(1_000)
    expect(observed).toEqual(['helixflow_queue_depth m 1'])
  })

  test('is not told of names that are no model', async () => {
    const refused = codeOf(want())
    await settle()
    pool.acquired[0]?.reject(new HelixError('model_not_found', 'no such model'))
    expect(await refused).toBe('model_not_found')
    clock.advance(10_000)
    expect(pool.demand).toEqual([])
    expect(observed).toEqual([])
  })
})

describe('a slot for a test of a replica', () => {
  test('is no use of it: the pool hears nothing, neither of use nor of demand', async () => {
    const a = replica('a', 'm', 2)
    pool.publish(a)
    const giveBack = router.borrow(a)
    expect(giveBack).toBeDefined()
    clock.advance(5_000)
    giveBack?.()
    expect([pool.uses, pool.demand, router.usedAtMs('a')]).toEqual([[], [], Number.NEGATIVE_INFINITY])
    const lease = await want()
    const again = router.borrow(a)
    lease.release()
    // What the pool hears of a request is of requests alone.
    expect(pool.uses).toEqual([
      ['a', 1],
      ['a', 0],
    ])
    again?.()
    expect(pool.uses).toHaveLength(2)
  })

  test('is taken from nobody: not while somebody waits, not beyond what is free, and it comes back to who waits', async () => {
    const a = replica('a', 'm', 1)
    pool.publish(a)
    const giveBack = router.borrow(a)
    expect(router.borrow(a)).toBeUndefined()
    const waiting = want()
    await settle()
    giveBack?.()
    const lease = await waiting
    const next = want()
    await settle()
    lease.release()
    expect(router.borrow(a)).toBeUndefined()
    ;(await next).release()
  })

  test('one that fails its tests is asked only while no other may be', async () => {
    pool.publish(replica('a', 'm', 2), replica('b', 'm', 2))
    router.trust('a', false)
    const leases = [await want(), await want()]
    expect(leases.map((lease) => lease.replica.id)).toEqual(['b', 'b'])
    pool.publish(replica('a', 'm', 2))
    expect((await want()).replica.id).toBe('a')
    pool.publish(replica('a', 'm', 2), replica('b', 'm', 2))
    for (const lease of leases) lease.release()
    router.trust('a', true)
    expect(new Set([(await want()).replica.id, (await want()).replica.id])).toEqual(new Set(['a', 'b']))
  })
})
