import { beforeEach, describe, expect, test } from 'vitest'
import { HandPool, replica, routerOf, settle, wanted } from '../../../test/support/routed-pool.ts'
import { ManualClock } from '../../core/clock.ts'
import type { Lease } from './lease.ts'
import { promptBlocks } from './prompt-blocks.ts'
import type { Router, RouterOptions } from './router.ts'

let clock: ManualClock
let pool: HandPool
let router: Router
const never = new AbortController().signal

beforeEach(() => {
  clock = new ManualClock()
  pool = new HandPool()
  router = makeRouter()
})

const makeRouter = (change: Partial<RouterOptions> = {}) => routerOf({ pool, clock }, change)

const want = (slots = 1, signal = never): Promise<Lease> => router.lease(wanted({ slots, signal }))

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
