import { expect, test } from 'vitest'
import { ManualClock } from '../../core/clock.ts'
import { noMetrics } from '../../core/metrics.ts'
import { MemoryStreams } from '../../streams/memory-streams.ts'
import type { RingStream } from '../../streams/stream.ts'
import type { StreamEventKind } from '../../streams/stream-event.ts'
import { SharedFrames } from './frames.ts'
import { type OutletOwner, StreamOutlet } from './stream-outlet.ts'
import { Tally } from './tally.ts'

const EVENTS: readonly (readonly [StreamEventKind, object])[] = [
  ['start', { kind: 'chat' }],
  ['delta', { text: 'a' }],
  ['delta', { text: 'b' }],
  ['delta', { text: 'c', choice: 1 }],
  ['delta', { text: 'd', choice: 1 }],
  ['event', { data: {} }],
  ['delta', { text: 'e' }],
  ['end', { last_seq: 8 }],
]

async function outletOf(events: typeof EVENTS): Promise<StreamOutlet> {
  return (await place(events)).outlet
}

/** A stream and its outlet, and what the outlet said to its connection and its owner. */
async function place(events: typeof EVENTS) {
  const bounds = { eventsMax: 10_000, bytesMax: 2 ** 26 }
  const store = new MemoryStreams({ ...bounds, keepMs: 1_000, clock: new ManualClock() })
  const head = {
    ...{
      id: 'str_1',
      epoch: 'e',
      tenant: 't',
      projectId: 'p',
      kind: 'chat' as const,
      requestId: 'r',
      model: 'm',
    },
    ...{ createdAtMs: 0, includeUsage: true, detachMs: 0 },
  } as const
  const writer = await store.create(head, { cancel: () => {} })
  for (const [kind, data] of events) writer.append(kind, JSON.stringify(data))
  const said: string[] = []
  const owner: Omit<OutletOwner, 'connection'> = {
    frames: new SharedFrames(),
    tally: new Tally(noMetrics),
    reads: () => () => {},
    lost: (_outlet, reason) => said.push(reason),
  }
  const connection = {
    ready: () => said.push('ready'),
    forget: () => {},
  } as unknown as OutletOwner['connection']
  const outlet = StreamOutlet.open(writer.stream, { seq: 0 }, { ...owner, connection })
  if (typeof outlet === 'string') throw new Error(outlet)
  return { outlet, writer, said }
}

function taken(outlet: StreamOutlet, joined: boolean): Record<string, unknown>[] {
  const messages = []
  for (let frame = outlet.take(joined); frame; frame = outlet.take(joined)) {
    const start = frame[1] === 127 ? 10 : frame[1] === 126 ? 4 : 2
    messages.push(JSON.parse(frame.toString('utf8', start)))
  }
  return messages
}

test('to a quick reader every event goes by itself', async () => {
  const messages = taken(await outletOf(EVENTS), false)
  expect(messages.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  expect(messages[0]).toEqual({ type: 'stream.start', stream: 'str_1', epoch: 'e', seq: 1, kind: 'chat' })
})

test('to a slow one adjacent text of one choice goes together, and nothing else is touched', async () => {
  const outlet = await outletOf(EVENTS)
  const messages = taken(outlet, true)
  expect(messages.map(({ type, seq, seq_to, text, choice }) => [type, seq, seq_to, text, choice])).toEqual([
    ['stream.start', 1, undefined, undefined, undefined],
    ['stream.delta', 2, 3, 'ab', undefined],
    ['stream.delta', 4, 5, 'cd', 1],
    ['stream.event', 6, undefined, undefined, undefined],
    ['stream.delta', 7, undefined, 'e', undefined],
    ['stream.end', 8, undefined, undefined, undefined],
  ])
  expect(outlet.isOver).toBe(true)
})

test('what goes together has an end too', async () => {
  const text = 'x'.repeat(1_000)
  const messages = taken(
    await outletOf(Array.from({ length: 100 }, () => ['delta', { text }] as const)),
    true,
  )
  expect(messages.map((one) => Number(one['seq_to']) - Number(one['seq']) + 1)).toEqual([
    17, 17, 17, 17, 17, 15,
  ])
})

test('nothing goes out before its client was told that it comes, and nothing that came meanwhile is forgotten', async () => {
  const { outlet, writer, said } = await place(EVENTS.slice(0, 1))
  writer.append('delta', '{"text":"a"}')
  expect(said).toEqual([])
  outlet.begin()
  expect(said).toEqual(['ready'])
  expect(taken(outlet, false).map(({ seq }) => seq)).toEqual([1, 2])
  writer.append('delta', '{"text":"b"}')
  expect(said).toEqual(['ready', 'ready'])
})

test('what was lost before it began is told when it begins', async () => {
  const { outlet, writer, said } = await place(EVENTS.slice(0, 1))
  ;(writer.stream as RingStream).lose('gap')
  expect(said).toEqual([])
  outlet.begin()
  expect(said).toEqual(['gap'])
})
