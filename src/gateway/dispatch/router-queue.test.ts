import { beforeEach, describe, expect, test } from 'vitest'
import { codeOf, HandPool, replica, routerOf, settle, wanted } from '../../../test/support/routed-pool.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { type Metrics, noMetrics } from '../../core/metrics.ts'
import type { Lease, Want } from './lease.ts'
import type { Router, RouterOptions } from './router.ts'
import { NO_USAGE, type Usage } from './usage.ts'

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

const makeRouter = (change: Partial<RouterOptions> = {}) => routerOf({ pool, clock, metrics }, change)

const want = (slots = 1, signal = never): Promise<Lease> => router.lease(wanted({ slots, signal }))

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
