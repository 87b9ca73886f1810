import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseConfig } from '../../../src/config/schema.ts'
import type { PoolClient, Replica } from '../../../src/contracts/pool.ts'
import { PoolRpcClient } from '../../../src/contracts/pool-rpc-client.ts'
import { inMemory } from '../../../src/contracts/rpc-transport.ts'
import { type Clock, ManualClock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { noMetrics } from '../../../src/core/metrics.ts'
import { GatewayTables } from '../../../src/pool/gateway-tables.ts'
import { localNode } from '../../../src/pool/node-directory.ts'
import { Nodes } from '../../../src/pool/nodes.ts'
import { type LeadingPool, poolRoutes } from '../../../src/pool/rpc.ts'
import { startPool } from '../../../src/pool/start.ts'
import { systemClock } from '../../../src/system.ts'
import { HandNode } from '../../support/hand-node.ts'

const clock = systemClock
const log = silentLog

/** A pool process of which the test decides when it leads. */
class HandPool {
  leading: LeadingPool | undefined
  private over = new AbortController()
  private end: () => Promise<void> = async () => {}

  readonly transport = inMemory(
    poolRoutes({
      leading: () => this.leading,
      leader: () => ({ leads: this.leading !== undefined, epoch: this.leading?.epoch ?? 0, url: undefined }),
      ...{ clock, log },
    }),
  )

  async lead(node: HandNode, epoch: number, clock: Clock = systemClock): Promise<PoolClient> {
    const config = parseConfig({})
    const nodes = localNode(node)
    const running = await startPool({ config, nodes, clock, log, metrics: noMetrics })
    const { pool } = running
    const tables = new GatewayTables({ pool, epoch, clock })
    this.over = new AbortController()
    const registry = new Nodes({
      connect: () => Object.assign(new HandNode(), { close: async () => {} }),
      ...{ clock, log },
    })
    const settled = Promise.resolve()
    this.leading = { pool, tables, epoch, nodes: registry, settled, over: this.over.signal }
    this.end = async () => {
      tables.stop()
      await registry.stop()
      await running.stop()
    }
    return pool
  }

  async leadNoMore(): Promise<void> {
    this.leading = undefined
    this.over.abort()
    await this.end()
  }
}

let node: HandNode
let pools: readonly [HandPool, HandPool]
let clients: PoolRpcClient[]
beforeEach(() => {
  node = new HandNode()
  pools = [new HandPool(), new HandPool()]
  clients = []
})
afterEach(async () => {
  await Promise.all(clients.map((client) => client.stop()))
  await Promise.all(pools.filter(({ leading }) => leading).map((pool) => pool.leadNoMore()))
})

function connect(gateway: string, timeoutMs = 5_000): PoolRpcClient {
  const client = new PoolRpcClient({
    ...{ gateway, urls: ['0', '1'], timeoutMs, clock, log },
    open: (url) => (pools[Number(url)] ?? pools[0]).transport,
  })
  clients.push(client)
  return client
}

function watched(client: PoolClient) {
  const seen = { replicas: [] as readonly Replica[] }
  client.watchReplicas((replicas) => {
    seen.replicas = replicas
  })
  return { slots: () => seen.replicas.map(({ model, slots }) => [model, slots]) }
}

const patient = () => AbortSignal.timeout(20_000)

async function loadA(client: PoolClient): Promise<void> {
  const acquired = client.acquire('a', patient())
  await expect.poll(() => node.starts).toHaveLength(1)
  node.ready(0)
  await acquired
}

describe('a pool elsewhere', () => {
  test('says the same as the pool itself', async () => {
    // One that stands still: how long a model is kept yet depends on when it is asked.
    const pool = await pools[1].lead(node, 1, new ManualClock(1_000))
    const client = connect('g')
    await loadA(client)
    expect(await client.listModels()).toEqual(await pool.listModels())
    expect(await client.showModel('a')).toEqual(await pool.showModel('a'))
    expect(await client.revision('a')).toEqual(await pool.revision('a'))
    expect(await client.listDevices()).toEqual(await pool.listDevices())
    expect(await client.explain('b')).toEqual(await pool.explain('b'))
    expect(await client.planMoves('b')).toEqual(await pool.planMoves('b'))
    expect(await client.explainWait('b')).toEqual(await pool.explainWait('b'))
    expect(await client.journal()).toEqual(JSON.parse(JSON.stringify(await pool.journal())))
    expect(await client.unavailability()).toBeUndefined()
  })

  test('fails with the same code and text', async () => {
    const pool = await pools[0].lead(node, 1)
    const client = connect('g')
    for (const ask of [
      (one: PoolClient) => one.showModel('absent'),
      (one: PoolClient) => one.acquire('absent', patient()),
      (one: PoolClient) => one.unload('absent', patient()),
    ]) {
      const [told, own] = await Promise.all([client, pool].map((one) => ask(one).catch((reason) => reason)))
      expect(told.toBody()).toEqual(own.toBody())
    }
  })

  test('shows a replica before it says that there is one', async () => {
    await pools[0].lead(node, 1)
    const client = connect('g')
    const { slots } = watched(client)
    await loadA(client)
    expect(slots()).toEqual([['a', 4]])
    const unloaded = client.unload('a', patient())
    await expect.poll(slots).toEqual([])
    expect(await unloaded).toMatchObject({ state: 'available' })
  })

  test('divides the slots of a replica among gateways that use it', async () => {
    await pools[0].lead(node, 1)
    const [one, two] = [connect('one'), connect('two')]
    const [first, second] = [watched(one), watched(two)]
    await loadA(one)
    await expect
      .poll(() => [...first.slots(), ...second.slots()])
      .toEqual([
        ['a', 2],
        ['a', 2],
      ])
  })

  test('is told what is in use and what is wanted', async () => {
    const pool = await pools[0].lead(node, 1)
    const client = connect('g')
    watched(client)
    await loadA(client)
    const instance = (await pool.listDevices()).flatMap(({ instances }) => instances)[0]?.id ?? ''
    client.reportUse(instance, 2)
    await expect.poll(async () => (await pool.showModel('a')).inFlight).toBe(2)
    client.reportUse(instance, 0)
    await expect.poll(async () => (await pool.showModel('a')).inFlight).toBe(0)
    client.reportDemand([{ model: 'a', arrivals: 3, inFlight: 1, queued: 2 }])
    const events = () => pool.journal().then((view) => JSON.stringify(view))
    await expect.poll(events).toContain('"arrivals":3')
  })
})

describe('while pools change', () => {
  test('who waits for a model goes on waiting at the next leader', async () => {
    await pools[0].lead(node, 1)
    const client = connect('g')
    watched(client)
    const acquired = client.acquire('a', patient())
    await expect.poll(() => node.starts).toHaveLength(1)
    await pools[0].leadNoMore()
    await pools[1].lead(node, 2)
    await expect.poll(() => node.starts).toHaveLength(2)
    node.ready(1)
    await acquired
  })

  test('what a pool answers that leads no more is not believed', async () => {
    await pools[0].lead(node, 1)
    const client = connect('g')
    let answer: (() => void) | undefined
    const next = new HandNode()
    node.listModels = () =>
      new Promise((resolve) => {
        answer = () => resolve([])
      })
    const listed = client.listModels()
    await expect.poll(() => answer).toBeDefined()
    await pools[0].leadNoMore()
    answer?.()
    await pools[1].lead(next, 2)
    expect((await listed).map(({ name }) => name)).toEqual(['a', 'b'])
  })

  test('the table stays as it is until another one leads', async () => {
    await pools[0].lead(node, 1)
    const client = connect('g', 500)
    const { slots } = watched(client)
    await loadA(client)
    await pools[0].leadNoMore()
    await expect(client.listModels()).rejects.toMatchObject({ code: 'pool_unavailable', status: 503 })
    expect(await client.unavailability()).toBeUndefined()
    expect(slots()).toEqual([['a', 4]])
    await pools[1].lead(new HandNode(), 2)
    await expect.poll(slots).toEqual([])
  })

  test('a caller that leaves is told its own reason, and waits no more', async () => {
    await pools[0].lead(node, 1)
    const client = connect('g')
    const leaving = new AbortController()
    const acquired = client.acquire('a', leaving.signal)
    await expect.poll(() => node.starts).toHaveLength(1)
    leaving.abort(new Error('the client left'))
    await expect(acquired).rejects.toThrow('the client left')
  })

  test('where no pool ever led, that is said', async () => {
    const client = connect('g', 200)
    await expect(client.showModel('a')).rejects.toMatchObject({ code: 'pool_unavailable' })
    expect(await client.unavailability()).toMatchObject({ code: 'pool_unavailable' })
    await expect(client.acquire('a', AbortSignal.timeout(300))).rejects.toThrow('timeout')
  })
})
