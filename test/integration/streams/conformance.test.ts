import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { MemoryStreams } from '../../../src/streams/memory-streams.ts'
import type { StreamStore } from '../../../src/streams/stream.ts'
import { systemClock } from '../../../src/system.ts'
import { RedisServer } from '../../support/redis.ts'
import {
  Generator,
  Listener,
  StreamGateway,
  type StreamGatewaySettings,
  streamHead,
  upTo,
  write,
} from '../../support/stream-gateway.ts'

const waitFor = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 5 })
const reason = new HelixError('client_closed_request', 'Enough.')

interface Store {
  /** Where streams are made. */
  readonly here: StreamStore
  /** Where they are read. */
  readonly there: StreamStore
  stop(): Promise<void>
}

let server: RedisServer
beforeAll(async () => {
  server = await RedisServer.start()
})
afterAll(() => server.stop())

async function inMemory(settings: StreamGatewaySettings): Promise<Store> {
  const one = new MemoryStreams({
    eventsMax: 10_000,
    bytesMax: 2 ** 22,
    keepMs: 120_000,
    clock: systemClock,
    ...settings,
  })
  return { here: one, there: one, stop: () => one.stop() }
}

async function inRedis(settings: StreamGatewaySettings, together: boolean): Promise<Store> {
  const gateways = [await StreamGateway.start({ urls: [server.url] }, settings)]
  if (!together) gateways.push(await StreamGateway.start({ urls: [server.url] }, settings))
  const [first, last] = [gateways[0] as StreamGateway, gateways.at(-1) as StreamGateway]
  return {
    here: first.streams,
    there: last.streams,
    stop: async () => {
      for (const one of gateways) await one.stop()
    },
  }
}

const kinds = [
  ['in memory', inMemory],
  ['in Redis, at the gateway that makes it', (settings: StreamGatewaySettings) => inRedis(settings, true)],
  ['in Redis, at another gateway', (settings: StreamGatewaySettings) => inRedis(settings, false)],
] as const

describe.each(kinds)('streams %s', (_name, open) => {
  const opened: Store[] = []
  afterEach(async () => {
    for (const one of opened.splice(0)) await one.stop()
  })
  async function store(settings: StreamGatewaySettings = {}): Promise<Store> {
    const one = await open(settings)
    opened.push(one)
    return one
  }

  test('a reader gets all events from any place on, in order, those to come too, with the same numbers and words', async () => {
    const { here, there } = await store()
    const head = streamHead()
    const writer = await here.create(head, new Generator())
    write(writer, 5)
    await waitFor(() => expect(writer.stream.lastSeq).toBe(5))
    const stream = await there.find('org_a', head.id)
    const whole = Listener.open(stream)
    const rest = Listener.open(stream, 3, head.epoch)
    write(writer, 5)
    writer.append('end', '{}')
    await waitFor(() => expect([whole.ended, rest.ended]).toEqual([true, true]))
    expect(whole.seqs).toEqual(upTo(11))
    expect(rest.events).toEqual(whole.events.slice(3))
    const again = Listener.open(await there.find('org_a', head.id), 0, head.epoch)
    expect(again.events).toEqual(whole.events)
    expect(whole.events.slice(0, 10).map(({ kind, data }) => [kind, data])).toEqual(
      upTo(10).map((seq) => ['delta', `{"text":"${seq} "}`]),
    )
  })

  test('its head is as it was given, without what is needed to make it again', async () => {
    const { here, there } = await store()
    const head = streamHead({ kind: 'response', includeUsage: true, detachMs: 5_000 })
    await here.create({ ...head, again: '{"much":1}' }, new Generator())
    const endless = streamHead()
    await here.create(endless, new Generator())
    expect(await there.find('org_a', head.id)).toMatchObject({ head })
    expect(await there.find('org_a', endless.id)).toMatchObject({ head: endless })
    expect(JSON.stringify(await there.find('org_a', head.id))).not.toContain('much')
  })

  test('what cannot be continued is refused with its reason', async () => {
    const { here, there } = await store({ eventsMax: 20, keepMs: 150 })
    const head = streamHead()
    const writer = await here.create(head, new Generator())
    write(writer, 400)
    await waitFor(() => expect(writer.stream.lastSeq).toBe(400))
    const stream = await there.find('org_a', head.id)
    const refusal = (afterSeq: number, epoch = head.epoch) => new Listener().open(stream, afterSeq, epoch)
    expect(refusal(401)).toBe('gap')
    expect(refusal(0)).toBe('gap')
    expect(refusal(300)).toBe('gap')
    expect(refusal(395, 'ffffffffffffffff')).toBe('epoch')
    expect(refusal(395)).toBeUndefined()
    expect(await there.find('org_b', head.id)).toBe('not_found')
    expect(await there.find('org_a', streamHead().id)).toBe('not_found')
    writer.append('end', '{}')
    await waitFor(async () => expect(await there.find('org_a', head.id)).toBe('expired'))
    expect(await there.find('org_b', head.id)).toBe('not_found')
  })

  test('a reader that falls behind what is kept is told of a gap', async () => {
    const { here, there } = await store({ eventsMax: 20 })
    const head = streamHead()
    const writer = await here.create(head, new Generator())
    write(writer, 1)
    await waitFor(() => expect(writer.stream.lastSeq).toBe(1))
    const stream = await there.find('org_a', head.id)
    if (typeof stream === 'string') throw new Error(stream)
    let lost: string | undefined
    stream.open(0, { ready: () => {}, lost: (why) => (lost = why) })
    write(writer, 400)
    await waitFor(() => expect(lost).toBe('gap'))
  })

  test('it is cancelled from anywhere by its tenant, and by nobody else, while it runs', async () => {
    const { here, there } = await store()
    const head = streamHead()
    const generator = new Generator()
    const writer = await here.create(head, generator)
    expect(await there.cancel('org_b', head.id, reason)).toBe(false)
    expect(await there.cancel('org_a', streamHead().id, reason)).toBe(false)
    expect(await there.cancel('org_a', head.id, reason)).toBe(true)
    await waitFor(() => expect(generator.reasons.length).toBeGreaterThan(0))
    const [told] = generator.reasons
    expect([told?.code, told?.publicMessage]).toEqual(['client_closed_request', 'Enough.'])
    writer.append('error', '{}')
    await waitFor(() => expect(writer.stream.ended).toBe(true))
    expect(await there.cancel('org_a', head.id, reason)).toBe(false)
  })

  test('it goes on while somebody reads, for as long as it may without a reader, and no longer', async () => {
    const { here, there } = await store()
    const read = new Generator()
    const left = new Generator()
    const heads = [streamHead({ detachMs: 0 }), streamHead({ detachMs: 0 })] as const
    await here.create(heads[0], read)
    await here.create(heads[1], left)
    const stays = Listener.open(await there.find('org_a', heads[0].id))
    const leaves = Listener.open(await there.find('org_a', heads[1].id))
    // Somebody must have read it here for its time to begin now, and not after half a minute.
    for (const { id } of heads) Listener.open(await here.find('org_a', id)).close()
    leaves.close()
    await waitFor(() => expect(left.reasons).toHaveLength(1))
    expect([left.reasons[0]?.code, read.reasons]).toEqual(['client_closed_request', []])
    stays.close()
    await waitFor(() => expect(read.reasons).toHaveLength(1))
  })

  test('a name belongs to whoever claims it first, until it is released, in its tenant', async () => {
    const { here, there } = await store()
    const name = streamHead().id
    expect(await here.claim('org_a', name, 'one')).toBe('one')
    expect(await there.claim('org_a', name, 'two')).toBe('one')
    expect(await there.claim('org_b', name, 'three')).toBe('three')
    await there.release('org_a', name)
    expect(await there.claim('org_a', name, 'four')).toBe('four')
  })

  test('what is discarded was never there', async () => {
    const { here, there } = await store()
    const head = streamHead()
    const writer = await here.create(head, new Generator())
    expect(here.producing).toBe(1)
    await writer.discard()
    expect([await there.find('org_a', head.id), here.producing]).toEqual(['not_found', 0])
  })
})
