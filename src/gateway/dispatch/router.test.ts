import { beforeEach, describe, expect, test } from 'vitest'
import type { PoolClient, Replica } from '../../contracts/pool.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { type Lease, Router } from './router.ts'

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
      reportDemand: () => {},
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
  router = new Router({ pool: pool.client(), clock, queueMax: 2, queueTimeoutMs: 5_000, loadWaitMs: 30_000 })
})

const want = (slots = 1, signal = never): Promise<Lease> => router.lease({ model: 'm', slots, signal })
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
