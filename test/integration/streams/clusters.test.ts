import { afterEach, describe, expect, test, vi } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { freePort } from '../../support/free-port.ts'
import { RedisServer } from '../../support/redis.ts'
import { Generator, Listener, StreamGateway, streamHead, upTo, write } from '../../support/stream-gateway.ts'

const started: { stop(): Promise<void> }[] = []

afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop()
})

function kept<Part extends { stop(): Promise<void> }>(part: Part): Part {
  started.push(part)
  return part
}

const waitFor = (check: () => unknown) => vi.waitFor(check, { timeout: 30_000, interval: 20 })

describe('a cluster of three', () => {
  test('streams and topics are spread over its nodes, and each is whole at another gateway', async () => {
    const nodes: RedisServer[] = []
    for (let made = 0; made < 3; made++)
      nodes.push(kept(await RedisServer.start(['--cluster-enabled', 'yes'])))
    const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
    await nodes[0]?.command('--cluster', 'create', ...addresses, '--cluster-replicas', '0', '--cluster-yes')
    await waitFor(async () => {
      for (const node of nodes) expect(await node.command('CLUSTER', 'INFO')).toContain('cluster_state:ok')
    })
    const address = { urls: nodes.map(({ url }) => url), mode: 'cluster' }
    const [here, there] = [kept(await StreamGateway.start(address)), kept(await StreamGateway.start(address))]
    const reading: { writer: Awaited<ReturnType<typeof here.streams.create>>; remote: Listener }[] = []
    for (let made = 0; made < 20; made++) {
      const head = streamHead()
      const writer = await here.streams.create(head, new Generator())
      write(writer, 5)
      reading.push({ writer, remote: Listener.open(await there.streams.find('org_a', head.id)) })
    }
    // Far sooner than by looking every second: notifications arrive.
    await waitFor(() =>
      expect(reading.map(({ remote }) => remote.events.length)).toEqual(reading.map(() => 5)),
    )
    const startMs = performance.now()
    for (let rounds = 0; rounds < 20; rounds++) {
      for (const { writer } of reading) write(writer, 2)
      await waitFor(() =>
        expect(reading.every(({ remote }) => remote.events.length === 7 + rounds * 2)).toBe(true),
      )
    }
    expect(performance.now() - startMs).toBeLessThan(10_000)
    for (const { remote } of reading) expect([remote.seqs, remote.lost]).toEqual([upTo(45), undefined])
    const sizes = await Promise.all(nodes.map((node) => node.command('DBSIZE')))
    expect(sizes.every((size) => Number(size) > 0)).toBe(true)
    const heard: number[] = []
    const follower = { event: ({ seq }: { seq: number }) => heard.push(seq), gap: () => heard.push(-1) }
    for (const name of ['a', 'b', 'c', 'd']) await there.topics.follow('org_a', name, undefined, follower)
    for (const name of ['a', 'b', 'c', 'd'])
      await here.topics.publish('org_a', name, { data: '1', kind: 'log' })
    await waitFor(() => expect(heard).toEqual([1, 1, 1, 1]))
    const cancelled = new Generator()
    const head = streamHead()
    await here.streams.create(head, cancelled)
    const reason = new HelixError('client_closed_request', 'Enough.')
    expect(await there.streams.cancel('org_a', head.id, reason)).toBe(true)
    await waitFor(() => expect(cancelled.reasons).toHaveLength(1))
  }, 90_000)
})

describe('sentinels', () => {
  test('over a failover streams lose nothing and double nothing', async () => {
    const master = kept(await RedisServer.start())
    const replica = kept(await RedisServer.start(['--replicaof', '127.0.0.1', String(master.port)]))
    await waitFor(async () =>
      expect(await replica.command('INFO', 'replication')).toContain('master_link_status:up'),
    )
    const sentinel = kept(
      await RedisServer.startSentinel({ name: 'streams', masterPort: master.port }, await freePort()),
    )
    await waitFor(async () =>
      expect(await sentinel.command('SENTINEL', 'REPLICAS', 'streams')).toContain(String(replica.port)),
    )
    const address = { urls: [sentinel.url], mode: 'sentinel', sentinelName: 'streams' }
    const [here, there] = [kept(await StreamGateway.start(address)), kept(await StreamGateway.start(address))]
    const head = streamHead()
    const writer = await here.streams.create(head, new Generator())
    write(writer, 10)
    const local = Listener.open(writer.stream)
    await waitFor(() => expect(local.seqs).toEqual(upTo(10)))
    const remote = Listener.open(await there.streams.find('org_a', head.id))
    await waitFor(async () =>
      expect(await replica.command('XLEN', `test:stream:{${head.id}}:events`)).toBe('10'),
    )
    await master.kill()
    write(writer, 10)
    await waitFor(() => expect(local.seqs).toEqual(upTo(20)))
    await waitFor(async () => expect(await replica.command('ROLE')).toMatch(/^master/))
    write(writer, 5)
    await waitFor(() => expect(remote.seqs).toEqual(upTo(25)))
    expect([local.seqs, local.lost, remote.lost]).toEqual([upTo(25), undefined, undefined])
    const after = streamHead()
    write(await here.streams.create(after, new Generator()), 1)
    await waitFor(async () =>
      expect(await there.streams.find('org_a', after.id)).toMatchObject({ lastSeq: 1 }),
    )
  }, 90_000)
})
