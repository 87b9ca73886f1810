import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, type TestContext, test, vi } from 'vitest'
import type { StreamWriter } from '../../../src/streams/stream.ts'
import { isLast } from '../../../src/streams/stream-event.ts'
import { RedisServer } from '../../support/redis.ts'
import { SlowProxy } from '../../support/slow-proxy.ts'
import {
  Generator,
  Listener,
  StreamGateway,
  type StreamGatewaySettings,
  streamHead,
  upTo,
  write,
} from '../../support/stream-gateway.ts'

const waitFor = (check: () => unknown, timeout = 15_000) => vi.waitFor(check, { timeout, interval: 5 })

/** Long enough for a busy machine, short enough to wait for. */
const TIMEOUT_MS = 200

/** A Redis of one test, and gateways on it. */
async function place({ onTestFinished }: Pick<TestContext, 'onTestFinished'>) {
  const server = await RedisServer.start()
  const opened: { stop(): Promise<void> }[] = [server]
  onTestFinished(async () => {
    for (const one of opened.reverse()) await one.stop()
  })
  const keep = <Part extends { stop(): Promise<void> }>(part: Part): Part => {
    opened.push(part)
    return part
  }
  const gateway = async (settings: StreamGatewaySettings = {}, url = server.url) =>
    keep(await StreamGateway.start({ urls: [url] }, { timeoutMs: TIMEOUT_MS, ...settings }))
  return { server, gateway, keep }
}

/** A stream of one gateway that is read there and at another. */
async function readAtBoth(here: StreamGateway, there: StreamGateway) {
  const head = streamHead()
  const generator = new Generator()
  const writer = await here.streams.create(head, generator)
  write(writer, 10)
  await waitFor(() => expect(writer.stream.lastSeq).toBe(10))
  const local = Listener.open(writer.stream)
  const remote = Listener.open(await there.streams.find('org_a', head.id))
  return { head, writer, local, remote, generator }
}

describe('while Redis stands still', () => {
  test('streams go on at their gateway in time; elsewhere nothing is missed and nothing comes twice when it is back', async (context) => {
    const { server, gateway } = await place(context)
    const [here, there] = [await gateway(), await gateway()]
    const { head, writer, local, remote } = await readAtBoth(here, there)
    server.freeze()
    const startMs = performance.now()
    write(writer, 5)
    await waitFor(() => expect(local.seqs).toEqual(upTo(15)))
    expect(performance.now() - startMs).toBeLessThan(TIMEOUT_MS + 300)
    // From now on nobody waits.
    write(writer, 5)
    expect(local.seqs).toEqual(upTo(20))
    const during = streamHead()
    write(await here.streams.create(during, new Generator()), 3)
    expect(Listener.open(await here.streams.find('org_a', during.id)).seqs).toEqual([1, 2, 3])
    await expect(there.streams.find('org_a', during.id)).rejects.toMatchObject({
      code: 'storage_unavailable',
    })
    expect(await here.streams.claim('org_a', 'name', 'mine')).toBe('mine')
    expect(remote.seqs).toEqual(upTo(10))
    server.thaw()
    await waitFor(() => expect(remote.seqs).toEqual(upTo(20)))
    write(writer, 1)
    writer.append('end', '{}')
    await waitFor(() => expect([remote.seqs, local.seqs]).toEqual([upTo(22), upTo(22)]))
    expect([remote.lost, local.lost, await there.streams.find('org_a', during.id)]).toEqual([
      undefined,
      undefined,
      'not_found',
    ])
    expect(await server.command('XLEN', `test:stream:{${head.id}}:events`)).toBe('22')
    const after = streamHead()
    write(await here.streams.create(after, new Generator()), 3)
    await waitFor(async () =>
      expect(await there.streams.find('org_a', after.id)).toMatchObject({ lastSeq: 3 }),
    )
  })

  test('a stream that outruns what its gateway keeps is a gap elsewhere, whole at its gateway, and never a part', async (context) => {
    const { server, gateway } = await place(context)
    const [here, there] = [await gateway({ eventsMax: 50 }), await gateway({ eventsMax: 50 })]
    const { head, writer, local, remote } = await readAtBoth(here, there)
    server.freeze()
    for (let rounds = 0; rounds < 10; rounds++) {
      write(writer, 20)
      await waitFor(() => expect(local.seqs).toEqual(upTo(30 + rounds * 20)))
    }
    server.thaw()
    await waitFor(() => expect(remote.lost).toBe('gap'))
    // Redis may still have done what it was asked first.
    expect(remote.seqs.length).toBeLessThanOrEqual(30)
    expect(remote.seqs).toEqual(upTo(remote.seqs.length))
    expect(new Listener().open(await there.streams.find('org_a', head.id), remote.seqs.length)).toBe('gap')
    writer.append('end', '{}')
    await waitFor(() => expect(local.seqs).toEqual(upTo(211)))
  })

  test('a write whose answer comes too late is there once', async (context) => {
    const { server, gateway, keep } = await place(context)
    const proxy = await SlowProxy.start(server.port)
    keep(proxy)
    const there = await gateway()
    const here = await gateway({}, `redis://127.0.0.1:${proxy.port}`)
    const { head, writer, local, remote } = await readAtBoth(here, there)
    for (let rounds = 0; rounds < 3; rounds++) {
      proxy.delayMs = TIMEOUT_MS * 2
      write(writer, 5)
      await waitFor(() => expect(local.seqs).toEqual(upTo(15 + 5 * rounds)))
      await waitFor(() => expect(here.streams.away).toBe(true))
      proxy.delayMs = 0
      await waitFor(() => expect(here.streams.away).toBe(false))
    }
    writer.append('end', '{}')
    await waitFor(() => expect([remote.seqs, local.seqs]).toEqual([upTo(26), upTo(26)]))
    expect(await server.command('XLEN', `test:stream:{${head.id}}:events`)).toBe('26')
  })
})

test('what Redis keeps of a stream is bounded, however long it gets', async (context) => {
  const { server, gateway } = await place(context)
  const here = await gateway({ eventsMax: 1_000, bytesMax: 20_000, keepMs: 100 })
  const head = streamHead()
  const writer = await here.streams.create(head, new Generator())
  for (let rounds = 1; rounds <= 50; rounds++) {
    write(writer, 100)
    await waitFor(() => expect(writer.stream.lastSeq).toBe(100 * rounds))
    // What memory keeps, what came in one turn, and what is in one node of the list with them.
    const kept = Number(await server.command('XLEN', `test:stream:{${head.id}}:events`))
    expect(kept).toBeLessThan(20_000 / (64 + 2 * 12) + 100 + 100)
  }
  writer.append('end', '{}')
  await waitFor(async () => expect(await here.streams.find('org_a', head.id)).toBe('expired'))
  const left = await server.command('KEYS', 'test:stream:*')
  expect(left).toBe(`test:stream:{${head.id}}:gone`)
})

describe('when Redis has lost everything', () => {
  test.each([
    ['it was emptied', (server: RedisServer) => server.command('FLUSHALL')],
    ['it was killed and starts again', (server: RedisServer) => server.startAgain()],
  ] as const)(
    'because %s, streams go on for their own readers, are a gap or not there elsewhere, and new ones are shared',
    async (_how, lose) => {
      const { server, gateway } = await place({ onTestFinished })
      const [here, there] = [await gateway(), await gateway()]
      const { head, writer, local, remote } = await readAtBoth(here, there)
      await lose(server)
      write(writer, 10)
      await waitFor(() => expect(local.seqs).toEqual(upTo(20)))
      await waitFor(() => expect(remote.lost).toBe('gap'))
      expect(remote.seqs).toEqual(upTo(10))
      await waitFor(async () => expect(await there.streams.find('org_a', head.id)).toBe('not_found'))
      writer.append('end', '{}')
      await waitFor(() => expect(local.seqs).toEqual(upTo(21)))
      expect(Listener.open(await here.streams.find('org_a', head.id), 5, head.epoch).seqs).toEqual(
        upTo(21, 6),
      )
      await waitFor(() => expect([here.streams.away, there.streams.away]).toEqual([false, false]))
      const after = await readAtBoth(here, there)
      expect(after.remote.seqs).toEqual(upTo(10))
    },
  )
})

describe.concurrent('when the gateway that makes a stream is gone', () => {
  test('exactly one of the others goes on with it, and readers and those who come back get the rest or the truth', async (context) => {
    const { gateway } = await place(context)
    const here = await gateway()
    const adopted: string[] = []
    const others: StreamGateway[] = []
    for (const name of ['one', 'two', 'three'])
      others.push(
        await gateway({
          orphaned: (writer, soFar) => {
            adopted.push(`${writer.head.id} ${name}`)
            writer.append('event', JSON.stringify({ again: writer.head.again, soFar: soFar.length }))
            writer.append('end', '{}')
            return new Generator()
          },
        }),
      )
    const heads = Array.from({ length: 5 }, () => streamHead({ again: '{"prompt":"?"}' }))
    const readers: Listener[] = []
    for (const head of heads) {
      const writer = await here.streams.create(head, new Generator())
      write(writer, 10)
      await waitFor(() => expect(writer.stream.lastSeq).toBe(10))
      for (const { streams } of others) readers.push(Listener.open(await streams.find('org_a', head.id)))
    }
    await here.kill()
    await waitFor(() => expect(readers.every(({ ended }) => ended)).toBe(true))
    expect(adopted.map((one) => one.split(' ')[0]).sort()).toEqual(heads.map(({ id }) => id).sort())
    for (const { events, seqs, lost } of readers) {
      expect([seqs, lost]).toEqual([upTo(12), undefined])
      expect(JSON.parse(events[10]?.data ?? '')).toEqual({ again: '{"prompt":"?"}', soFar: 10 })
    }
    const { id, epoch } = heads[0] ?? streamHead()
    for (const { streams } of others) {
      const stream = await streams.find('org_a', id)
      expect(Listener.open(stream, 10, epoch).seqs).toEqual([11, 12])
      // Nobody can have seen that of the old life.
      expect(new Listener().open(stream, 11, epoch)).toBe('epoch')
      const now = typeof stream === 'string' ? '' : stream.head.epoch
      expect([Listener.open(stream, 11, now).seqs, now === epoch]).toEqual([[12], false])
    }
  })

  test('it ends with an error where nobody can go on with it; of those who try to take it one wins', async (context) => {
    const { gateway } = await place(context)
    const [here, one, two] = [await gateway(), await gateway(), await gateway()]
    const { head, remote } = await readAtBoth(here, one)
    const other = streamHead()
    write(await here.streams.create(other, new Generator()), 3)
    await waitFor(async () => expect(await two.streams.find('org_a', other.id)).toMatchObject({ lastSeq: 3 }))
    expect(await one.streams.adopt(other.id, new Generator())).toBeUndefined()
    await here.kill()
    let writers: unknown[] = []
    await waitFor(async () => {
      writers = await Promise.all([one, two].map(({ streams }) => streams.adopt(other.id, new Generator())))
      expect(writers.filter((writer) => writer)).toHaveLength(1)
    })
    expect(writers.find((writer) => writer)).toMatchObject({ nextSeq: 4 })
    expect(await two.streams.adopt(other.id, new Generator())).toBeUndefined()
    await waitFor(() => expect(remote.ended).toBe(true))
    const last = remote.events.at(-1)
    expect([remote.seqs, last?.kind, JSON.parse(last?.data ?? '')]).toMatchObject([
      upTo(11),
      'error',
      { status: 502, error: { code: 'engine_failed' } },
    ])
    await waitFor(() => expect(two.streams.find('org_a', head.id)).resolves.toMatchObject({ ended: true }))
  })

  test('a gateway that leaves takes nothing over, and another does', async (context) => {
    const { gateway } = await place(context)
    const taken: string[] = []
    const orphaned = (writer: StreamWriter) => {
      taken.push(writer.head.id)
      writer.append('error', '{}')
      return new Generator()
    }
    const [here, leaving] = [await gateway(), await gateway({ stays: () => false, orphaned })]
    const { head, remote } = await readAtBoth(here, leaving)
    await here.kill()
    const staying = await gateway()
    const found = await staying.streams.find('org_a', head.id)
    if (typeof found === 'string') throw new Error(found)
    const reader = Listener.open(found)
    await waitFor(() => expect(reader.ended).toBe(true))
    await waitFor(() => expect(remote.ended).toBe(true))
    expect(taken).toEqual([])
  })

  test('it is gone on with also when the gateway that took it over never heard that it has it', async (context) => {
    const { server, gateway } = await place(context)
    const [here, there] = [await gateway(), await gateway()]
    const { head, remote } = await readAtBoth(here, there)
    // What the script of taking over has done when its answer is lost.
    await server.command('HSET', `test:stream:{${head.id}}:head`, 'owner', there.id)
    await here.kill()
    await waitFor(() => expect(remote.ended).toBe(true))
    expect([remote.seqs, remote.lost]).toEqual([upTo(11), undefined])
  })

  test('a gateway whose reader is away for a moment waits for them to come back', async (context) => {
    const { gateway } = await place(context)
    const adopted: string[] = []
    const orphaned = (writer: StreamWriter) => {
      adopted.push(writer.head.id)
      writer.append('end', '{}')
      return new Generator()
    }
    const [here, there] = [await gateway(), await gateway({ orphaned })]
    const { head, remote } = await readAtBoth(here, there)
    await here.kill()
    // Before anybody can hold it for gone, and long enough for that meanwhile.
    await sleep(3_500)
    expect(adopted).toEqual([])
    remote.close()
    await sleep(6_000)
    expect(adopted).toEqual([])
    const back = Listener.open(await there.streams.find('org_a', head.id), 10, head.epoch)
    await waitFor(() => expect(back.seqs).toEqual([11]))
  })

  test('a gateway that was only cut off does not write over the one that went on', async (context) => {
    const { server, gateway, keep } = await place(context)
    const proxy = await SlowProxy.start(server.port)
    keep(proxy)
    const there = await gateway({
      orphaned: (writer) => {
        writer.append('event', '"from there"')
        return new Generator()
      },
    })
    const here = await gateway({}, `redis://127.0.0.1:${proxy.port}`)
    const silent = await readAtBoth(here, there)
    const busy = await readAtBoth(here, there)
    proxy.cut()
    write(busy.writer, 5)
    await waitFor(() => expect(busy.local.seqs).toEqual(upTo(15)))
    for (const { remote } of [silent, busy]) await waitFor(() => expect(remote.seqs).toEqual(upTo(11)))
    proxy.mend()
    await waitFor(() => expect(here.streams.away).toBe(false))
    write(silent.writer, 1)
    write(busy.writer, 1)
    // Nobody has seen anything here that is not there: its readers come back to what is there.
    await waitFor(() => expect(silent.local.lost).toBe('gap'))
    expect([silent.local.seqs, silent.generator.reasons.length]).toEqual([upTo(10), 1])
    const back = Listener.open(await here.streams.find('org_a', silent.head.id), 10, silent.head.epoch)
    expect(back.events.map(({ data }) => data)).toEqual(['"from there"'])
    // What was seen here only goes on here only.
    await waitFor(() => expect(busy.local.seqs).toEqual(upTo(16)))
    const stream = await there.streams.find('org_a', busy.head.id)
    expect(new Listener().open(stream, 11, busy.head.epoch)).toBe('epoch')
    expect(Listener.open(stream, 10, busy.head.epoch).events.map(({ data }) => data)).toEqual([
      '"from there"',
    ])
    expect([...silent.remote.events, ...busy.remote.events].some(isLast)).toBe(false)
  })
})
