import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Charge } from '../../../src/limits/store.ts'
import { freePort } from '../../support/free-port.ts'
import { Limiter } from '../../support/limiter.ts'
import { RedisServer } from '../../support/redis.ts'

const started: { stop(): Promise<void> }[] = []

afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop()
})

function kept<Part extends { stop(): Promise<void> }>(part: Part): Part {
  started.push(part)
  return part
}

function charge(change: Partial<Charge> = {}): Charge {
  return { key: 'k', kind: 'token-bucket', limit: 20, windowMs: 60_000, burst: 20, cost: 1, ...change }
}

/** Asks until the shared store answers again. */
const back = ({ store }: Limiter) =>
  vi.waitFor(() => expect(store.away).toBe(false), { timeout: 20_000, interval: 50 })

describe('a cluster of three', () => {
  test('several rules of a request are one decision, and a node that goes is bridged by shares', async () => {
    const settings = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000']
    const nodes: RedisServer[] = []
    for (let made = 0; made < 3; made++) nodes.push(kept(await RedisServer.start(settings)))
    const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
    await nodes[0]?.command('--cluster', 'create', ...addresses, '--cluster-replicas', '0', '--cluster-yes')
    await vi.waitFor(
      async () => {
        for (const node of nodes) expect(await node.command('CLUSTER', 'INFO')).toContain('cluster_state:ok')
      },
      { timeout: 20_000, interval: 100 },
    )
    const limiter = kept(
      await Limiter.start({ urls: nodes.map(({ url }) => url), mode: 'cluster' }, 'cluster'),
    )
    const rules = [
      charge(),
      charge({ key: 'w', kind: 'sliding-window', limit: 15 }),
      charge({ key: 'f', kind: 'fixed-window', limit: 1_000 }),
    ]
    for (let sent = 0; sent < 25; sent++) await limiter.ask(rules)
    expect([limiter.granted, limiter.refused]).toEqual([15, 10])
    const slot = await nodes[0]?.command('CLUSTER', 'KEYSLOT', 'cluster:{org_a}:c:k')
    const owner = nodes.find((_, place) => Math.floor(Number(slot) / (16_384 / 3)) === place)
    owner?.freeze()
    for (let sent = 0; sent < 10; sent++) await limiter.ask(rules)
    expect(limiter.outages).toEqual([true])
    owner?.thaw()
    await back(limiter)
    for (let sent = 0; sent < 10; sent++) await limiter.ask(rules)
    // The window was full, and stays so.
    expect([limiter.granted, limiter.failures]).toEqual([15, []])
  }, 90_000)
})

describe('sentinels', () => {
  test('after a failover limits go on with the new master, and nothing is granted twice', async () => {
    const master = kept(await RedisServer.start())
    const replica = kept(await RedisServer.start(['--replicaof', '127.0.0.1', String(master.port)]))
    await vi.waitFor(
      async () => expect(await replica.command('INFO', 'replication')).toContain('master_link_status:up'),
      { timeout: 20_000, interval: 100 },
    )
    const sentinel = kept(
      await RedisServer.startSentinel({ name: 'limits', masterPort: master.port }, await freePort()),
    )
    await vi.waitFor(
      async () =>
        expect(await sentinel.command('SENTINEL', 'REPLICAS', 'limits')).toContain(String(replica.port)),
      { timeout: 30_000, interval: 200 },
    )
    const limiter = kept(
      await Limiter.start({ urls: [sentinel.url], mode: 'sentinel', sentinelName: 'limits' }, 'sentinel'),
    )
    const window = charge({ key: 'w', kind: 'sliding-window', limit: 10, windowMs: 3_600_000 })
    for (let sent = 0; sent < 6; sent++) await limiter.ask([window])
    await vi.waitFor(async () => expect(await replica.command('DBSIZE')).not.toBe('0'), { timeout: 10_000 })
    await master.kill()
    for (let sent = 0; sent < 3; sent++) await limiter.ask([window])
    await vi.waitFor(async () => expect(await replica.command('ROLE')).toMatch(/^master/), {
      timeout: 40_000,
      interval: 200,
    })
    await back(limiter)
    for (let sent = 0; sent < 10; sent++) await limiter.ask([window])
    expect([limiter.granted, limiter.failures]).toEqual([10, []])
  }, 120_000)
})
