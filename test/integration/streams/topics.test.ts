import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { MemoryTopics } from '../../../src/streams/memory-topics.ts'
import { MemorySecrets, type OneTimeSecrets } from '../../../src/streams/secrets.ts'
import type { TopicEvent, Topics } from '../../../src/streams/topics.ts'
import { systemClock } from '../../../src/system.ts'
import { RedisServer } from '../../support/redis.ts'
import { StreamGateway, upTo } from '../../support/stream-gateway.ts'

const waitFor = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 5 })

let server: RedisServer
const opened: StreamGateway[] = []
beforeAll(async () => {
  server = await RedisServer.start()
})
afterAll(() => server.stop())
afterEach(async () => {
  for (const one of opened.splice(0)) await one.stop()
})

interface Hearing {
  readonly events: TopicEvent[]
  readonly gaps: string[]
  event(event: TopicEvent): void
  gap(reason: string): void
}

function hearing(): Hearing {
  const events: TopicEvent[] = []
  const gaps: string[] = []
  return { events, gaps, event: (one) => events.push(one), gap: (reason) => gaps.push(reason) }
}

const seqs = ({ events }: Hearing) => events.map(({ seq }) => seq)

async function gateway(): Promise<StreamGateway> {
  const one = await StreamGateway.start({ urls: [server.url] })
  opened.push(one)
  return one
}

async function inMemory(): Promise<{ here: Topics & OneTimeSecrets; there: Topics & OneTimeSecrets }> {
  const [topics, secrets] = [new MemoryTopics(systemClock), new MemorySecrets(systemClock)]
  const both = together(topics, secrets)
  return { here: both, there: both }
}

async function inRedis(): Promise<{ here: Topics & OneTimeSecrets; there: Topics & OneTimeSecrets }> {
  const [one, two] = [await gateway(), await gateway()]
  return { here: together(one.topics, one.secrets), there: together(two.topics, two.secrets) }
}

function together(topics: Topics, secrets: OneTimeSecrets): Topics & OneTimeSecrets {
  return {
    publish: (...given) => topics.publish(...given),
    follow: (...given) => topics.follow(...given),
    presence: (...given) => topics.presence(...given),
    announce: (...given) => topics.announce(...given),
    onAnnounce: (listener) => topics.onAnnounce(listener),
    stop: () => topics.stop(),
    put: (...given) => secrets.put(...given),
    take: (name) => secrets.take(name),
  }
}

const log = (data: unknown) => ({ data: JSON.stringify(data), kind: 'log' as const })
const latest = (data: unknown) => ({ data: JSON.stringify(data), kind: 'latest' as const })
let made = 0
const fresh = () => `custom/${process.pid}-${made++}`

describe.each([
  ['in memory', inMemory],
  ['in Redis, over two gateways', inRedis],
])('topics %s', (_name, open) => {
  test('followers get the events of a log in order, each once, and after an absence what they missed', async () => {
    const { here, there } = await open()
    const topic = fresh()
    const first = hearing()
    const followed = await there.follow('org_a', topic, undefined, first)
    expect(followed).toMatchObject({ seq: 0, recovered: true })
    for (let sent = 1; sent <= 50; sent++) expect(await here.publish('org_a', topic, log(sent))).toBe(sent)
    await waitFor(() => expect(seqs(first)).toEqual(upTo(50)))
    followed.stop()
    for (let sent = 51; sent <= 60; sent++) await here.publish('org_a', topic, log(sent))
    const second = hearing()
    const position = { epoch: followed.epoch, seq: 50 }
    const back = await there.follow('org_a', topic, position, second)
    expect([back.recovered, back.seq, second.events]).toEqual([true, 60, []])
    await here.publish('org_a', topic, log('ä "\n'))
    await waitFor(() => expect(seqs(second)).toEqual(upTo(61, 51)))
    expect(second.events.at(-1)).toEqual({ topic, epoch: followed.epoch, seq: 61, data: '"ä \\"\\n"' })
    expect([first.events.length, first.gaps, second.gaps]).toEqual([50, [], []])
  })

  test('what is not kept any more, or not of this life, is said and never given in part', async () => {
    const { here, there } = await open()
    const topic = fresh()
    const { epoch, stop } = await there.follow('org_a', topic, undefined, hearing())
    stop()
    for (let sent = 1; sent <= 300; sent++) await here.publish('org_a', topic, log(sent))
    const outcome = async (position: { epoch: string; seq: number }) => {
      const heard = hearing()
      const { recovered, reason, stop: end } = await there.follow('org_a', topic, position, heard)
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
      end()
      return [recovered, reason, heard.events.length]
    }
    expect(await outcome({ epoch, seq: 43 })).toEqual([false, 'gap', 0])
    expect(await outcome({ epoch, seq: 44 })).toEqual([true, undefined, 256])
    expect(await outcome({ epoch, seq: 300 })).toEqual([true, undefined, 0])
    expect(await outcome({ epoch, seq: 301 })).toEqual([false, 'gap', 0])
    expect(await outcome({ epoch: 'ffffffffffffffff', seq: 300 })).toEqual([false, 'epoch', 0])
  })

  test('of a topic of which the newest counts, whoever comes gets that one', async () => {
    const { here, there } = await open()
    const topic = fresh()
    for (let sent = 1; sent <= 5; sent++) await here.publish('org_a', topic, latest(sent))
    const heard = hearing()
    const { epoch, seq, recovered } = await there.follow('org_a', topic, undefined, heard)
    await waitFor(() => expect(heard.events).toEqual([{ topic, epoch, seq: 5, data: '5' }]))
    const known = hearing()
    await there.follow('org_a', topic, { epoch, seq: 5 }, known)
    const behind = hearing()
    const after = await there.follow('org_a', topic, { epoch, seq: 2 }, behind)
    await here.publish('org_a', topic, latest(6))
    await waitFor(() => expect([seqs(heard), seqs(known), seqs(behind)]).toEqual([[5, 6], [6], [5, 6]]))
    expect([seq, recovered, after.recovered]).toEqual([5, true, true])
  })

  test('a key is published once, from whichever gateway', async () => {
    const { here, there } = await open()
    const topic = fresh()
    const heard = hearing()
    await here.follow('org_a', topic, undefined, heard)
    const asked = [here, there, here, there].map((at) => at.publish('org_a', topic, { ...log(1), key: 'k' }))
    expect(await Promise.all(asked)).toEqual([1, 1, 1, 1])
    expect(await there.publish('org_a', topic, log(2))).toBe(2)
    await waitFor(() => expect(seqs(heard)).toEqual([1, 2]))
  })

  test('no event crosses a scope', async () => {
    const { here, there } = await open()
    const topic = fresh()
    const heard = hearing()
    await there.follow('org_a/one', topic, undefined, heard)
    await here.publish('org_a/two', topic, log('two'))
    await here.publish('org_a', topic, log('all'))
    await here.publish('org_a/one', topic, log('one'))
    await waitFor(() => expect(heard.events.map(({ data }) => data)).toEqual(['"one"']))
  })

  test('who follows is counted over all gateways', async () => {
    const { here, there } = await open()
    const topic = fresh()
    const following = [
      await here.follow('org_a', topic, undefined, hearing()),
      await there.follow('org_a', topic, undefined, hearing()),
      await there.follow('org_a', topic, undefined, hearing()),
    ]
    await waitFor(async () => expect(await here.presence('org_a', topic)).toBe(3))
    expect(await here.presence('org_b', topic)).toBe(0)
    following[2]?.stop()
    following[0]?.stop()
    await waitFor(async () => expect(await there.presence('org_a', topic)).toBe(1))
  })

  test('an announcement is heard once at every gateway', async () => {
    const { here, there } = await open()
    const heard: string[] = []
    const end = here.onAnnounce((scope, data) => heard.push(`here ${scope} ${data}`))
    there.onAnnounce((scope, data) => heard.push(`there ${scope} ${data}`))
    // A gateway may still be about to listen.
    await waitFor(() => {
      heard.length = 0
      here.announce('org_a', '1')
      return vi.waitFor(() => expect(heard.sort()).toEqual(['here org_a 1', 'there org_a 1']), {
        timeout: 200,
      })
    })
    end()
    here.announce('org_a', '2')
    await waitFor(() => expect(heard.filter((one) => one.endsWith('2'))).toEqual(['there org_a 2']))
  })

  test('a secret is taken once, and not after its time', async () => {
    const { here, there } = await open()
    await here.put('a', 'x', 10_000)
    const taken = await Promise.all([here.take('a'), there.take('a'), here.take('a')])
    expect(taken.filter((one) => one !== undefined)).toEqual(['x'])
    await here.put('b', 'y', 20)
    await sleep(40)
    expect(await there.take('b')).toBeUndefined()
    expect(await there.take('c')).toBeUndefined()
  })
})

describe('topics in Redis, when something goes wrong', () => {
  test('followers of lost data hear that it is another life, and go on', async () => {
    const [one, two] = [await gateway(), await gateway()]
    const topic = fresh()
    const heard = hearing()
    const { epoch } = await two.topics.follow('org_a', topic, undefined, heard)
    for (let sent = 1; sent <= 3; sent++) await one.topics.publish('org_a', topic, log(sent))
    await waitFor(() => expect(seqs(heard)).toEqual([1, 2, 3]))
    await server.command('FLUSHALL')
    await one.topics.publish('org_a', topic, log('new'))
    await waitFor(() => expect(heard.gaps).toEqual(['epoch']))
    await waitFor(() => expect(seqs(heard)).toEqual([1, 2, 3, 1]))
    expect(heard.events.at(-1)?.epoch).not.toBe(epoch)
  })

  test('a topic of which only the log is left begins anew', async () => {
    const one = await gateway()
    const topic = fresh()
    for (let sent = 1; sent <= 3; sent++) await one.topics.publish('org_a', topic, log(sent))
    await server.command('DEL', `test:topic:{org_a|${topic}}:state`)
    expect(await one.topics.publish('org_a', topic, log('new'))).toBe(1)
    await server.command('DEL', `test:topic:{org_a|${topic}}:state`)
    const heard = hearing()
    const { epoch, seq } = await one.topics.follow('org_a', topic, { epoch: 'old', seq: 1 }, heard)
    expect([seq, await one.topics.publish('org_a', topic, log('newer'))]).toEqual([0, 1])
    await waitFor(() =>
      expect(heard.events.map((one) => [one.epoch, one.data])).toEqual([[epoch, '"newer"']]),
    )
  })

  test('messages that were never delivered are found in what is kept', async () => {
    const [one, two] = [await gateway(), await gateway()]
    const topic = fresh()
    const heard = hearing()
    await two.topics.follow('org_a', topic, undefined, heard)
    await one.topics.publish('org_a', topic, log(1))
    await waitFor(() => expect(seqs(heard)).toEqual([1]))
    const cut = server.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
    for (let sent = 2; sent <= 100; sent++) await one.topics.publish('org_a', topic, log(sent))
    await cut
    await waitFor(() => expect(seqs(heard)).toEqual(upTo(100)))
    expect(heard.gaps).toEqual([])
  })

  test('without Redis publishing and following fail in time, and say so', async () => {
    const one = await gateway()
    const topic = fresh()
    server.freeze()
    try {
      const asked = [
        one.topics.publish('org_a', topic, log(1)),
        one.topics.follow('org_a', topic, undefined, hearing()),
        one.secrets.take('a'),
      ]
      const outcomes = await Promise.allSettled(asked)
      const codes = outcomes.map((one) => one.status === 'rejected' && HelixError.from(one.reason).code)
      expect(codes).toEqual(Array.from({ length: 3 }, () => 'storage_unavailable'))
    } finally {
      server.thaw()
    }
  })
})
