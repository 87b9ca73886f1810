import { beforeEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import type { HelixError } from '../core/errors.ts'
import { MemoryStreams } from './memory-streams.ts'
import type { Cursor, Stream, StreamHead, StreamWriter } from './stream.ts'
import type { Unrecoverable } from './stream-event.ts'

let clock: ManualClock
let store: MemoryStreams
let cancelled: HelixError[]
beforeEach(() => {
  clock = new ManualClock()
  store = new MemoryStreams({ eventsMax: 10, bytesMax: 2 ** 20, keepMs: 120_000, clock })
  cancelled = []
})

async function begin(change: Partial<StreamHead> = {}): Promise<StreamWriter> {
  const head: StreamHead = {
    id: 'str_1',
    epoch: 'e',
    tenant: 'org_a',
    projectId: 'proj_a',
    kind: 'chat',
    requestId: 'req_a',
    model: 'm',
    createdAtMs: 0,
    includeUsage: false,
    detachMs: 5_000,
    ...change,
  }
  return store.create(head, { cancel: (reason) => void cancelled.push(reason) })
}

function reading(stream: Stream, afterSeq = 0) {
  const told: string[] = []
  const cursor = stream.open(afterSeq, {
    ready: () => void told.push('ready'),
    lost: (reason: Unrecoverable) => void told.push(reason),
  }) as Cursor
  return { told, cursor }
}

describe('a reader', () => {
  test('is told once that there is more, after it had nothing left', async () => {
    const writer = await begin()
    const { told, cursor } = reading(writer.stream)
    expect(cursor.next()).toBeUndefined()
    for (let made = 0; made < 3; made++) writer.append('delta', '{}')
    expect(told).toEqual(['ready'])
    expect([cursor.peek()?.seq, cursor.next()?.seq, cursor.next()?.seq, cursor.next()?.seq]).toEqual([
      1, 1, 2, 3,
    ])
    expect(cursor.next()).toBeUndefined()
    writer.append('delta', '{}')
    expect([told, cursor.nextSeq]).toEqual([['ready', 'ready'], 4])
  })

  test('that is closed hears nothing more, also when another closes it in the middle', async () => {
    const writer = await begin()
    const second: { cursor?: Cursor } = {}
    const told: string[] = []
    writer.stream.open(0, { ready: () => second.cursor?.close(), lost: () => {} })
    second.cursor = writer.stream.open(0, { ready: () => told.push('ready'), lost: () => {} }) as Cursor
    writer.append('delta', '{}')
    expect([told, second.cursor.next()]).toEqual([[], undefined])
  })

  test('that falls behind what is kept is told so once, and gets nothing more', async () => {
    const writer = await begin()
    const { told, cursor } = reading(writer.stream)
    for (let made = 0; made < 20; made++) writer.append('delta', '{}')
    expect([told, cursor.next()]).toEqual([['ready', 'gap'], undefined])
    expect([writer.stream.open(9, silent), typeof writer.stream.open(10, silent)]).toEqual(['gap', 'object'])
  })

  test('is refused with what it has of another life', async () => {
    const writer = await begin()
    const { stream } = writer
    for (let made = 0; made < 5; made++) writer.append('delta', '{}')
    expect(typeof stream.open(3, silent, 'e')).toBe('object')
    expect(stream.open(3, silent, 'x')).toBe('epoch')
  })
})

const silent = { ready: () => {}, lost: () => {} }

describe('a stream that nobody reads', () => {
  test('has half a minute for its first reader, then as long as it may be detached', async () => {
    const writer = await begin()
    clock.advance(29_999)
    expect(cancelled).toEqual([])
    const { cursor } = reading(writer.stream)
    clock.advance(1_000_000)
    cursor.close()
    clock.advance(4_999)
    const second = reading(writer.stream)
    clock.advance(1_000_000)
    second.cursor.close()
    clock.advance(4_999)
    expect(cancelled).toEqual([])
    clock.advance(1)
    expect(cancelled.map(({ code }) => code)).toEqual(['client_closed_request'])
  })

  test('ends with its last reader when it may not be detached, and never when it may be for ever', async () => {
    const never = await begin({ id: 'str_2', detachMs: Number.POSITIVE_INFINITY })
    reading(never.stream).cursor.close()
    clock.advance(1e9)
    expect(cancelled).toEqual([])
    const at = await begin({ detachMs: 0 })
    reading(at.stream).cursor.close()
    expect(cancelled).toHaveLength(1)
  })

  test('is not cancelled after its end', async () => {
    const writer = await begin({ detachMs: 0 })
    const { cursor } = reading(writer.stream)
    writer.append('end', '{}')
    cursor.close()
    clock.advance(60_000)
    expect([cancelled, store.producing]).toEqual([[], 0])
  })
})

describe('after its end a stream', () => {
  test('is kept for a while, is then known to have been, and at last forgotten', async () => {
    const writer = await begin({ kind: 'response' })
    writer.append('end', '{}')
    const { told } = reading(writer.stream)
    clock.advance(119_999)
    expect(await store.find('org_a', 'str_1')).toBe(writer.stream)
    clock.advance(1)
    expect([told, await store.find('org_a', 'str_1')]).toEqual([['expired'], 'expired'])
    expect(await store.find('org_b', 'str_1')).toBe('not_found')
    clock.advance(600_000)
    expect(await store.find('org_a', 'str_1')).toBe('not_found')
  })

  test('goes when its only reader has everything for good, and stays while another reads', async () => {
    const writer = await begin()
    const [one, two] = [reading(writer.stream), reading(writer.stream)]
    writer.append('delta', '{}')
    one.cursor.acknowledge(1)
    writer.append('end', '{}')
    one.cursor.acknowledge(2)
    expect(await store.find('org_a', 'str_1')).toBe(writer.stream)
    one.cursor.close()
    two.cursor.acknowledge(2)
    expect(await store.find('org_a', 'str_1')).toBe('expired')
  })
})

test('a name that was released and claimed again stays claimed for its whole time', async () => {
  expect(await store.claim('org_a', 'n', 'one')).toBe('one')
  clock.advance(500_000)
  await store.release('org_a', 'n')
  expect(await store.claim('org_a', 'n', 'two')).toBe('two')
  clock.advance(599_999)
  expect(await store.claim('org_a', 'n', 'three')).toBe('two')
  clock.advance(1)
  expect(await store.claim('org_a', 'n', 'three')).toBe('three')
})
