import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { MemoryStreams } from '../../streams/memory-streams.ts'
import type { Cursor } from '../../streams/stream.ts'
import type { Answer } from '../dispatch/exchange.ts'
import { ChatScribe } from './chat-scribe.ts'
import { StreamRecipient } from './stream-recipient.ts'

const HEAD = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 7, model: 'm' }

test('plain text becomes deltas, everything else stays the chunk that it was, and the end proves the text', async () => {
  const toolCall = { tool_calls: [{ index: 0, id: 'call_1', function: { name: 'f', arguments: '{}' } }] }
  const events = await written([
    chunk({ delta: { role: 'assistant', content: null } }),
    chunk({ delta: { content: 'Grüße ' } }),
    chunk({ delta: { content: '🙂' } }),
    chunk({ delta: toolCall }),
    chunk({ delta: {}, finish_reason: 'stop' }),
    { ...HEAD, choices: [], usage: { prompt_tokens: 3 } },
  ])
  expect(events).toEqual([
    { seq: 1, kind: 'start', data: { kind: 'chat', response_id: 'chatcmpl-1', model: 'm', created: 7 } },
    { seq: 2, kind: 'delta', data: { text: 'Grüße ' } },
    { seq: 3, kind: 'delta', data: { text: '🙂' } },
    { seq: 4, kind: 'event', data: { data: chunk({ delta: toolCall }) } },
    { seq: 5, kind: 'event', data: { data: chunk({ delta: {}, finish_reason: 'stop' }) } },
    {
      seq: 6,
      kind: 'end',
      data: {
        last_seq: 6,
        finish_reason: 'stop',
        usage: { prompt_tokens: 3 },
        sha256: createHash('sha256').update('Grüße 🙂').digest('hex'),
      },
    },
  ])
})

test('text that comes with something else beside it counts as text too', async () => {
  const told = chunk({ delta: { content: 'ja' }, logprobs: { content: [] } })
  const last = chunk({ delta: { content: '!' }, finish_reason: 'length' })
  const events = await written([chunk({ delta: { role: 'assistant' } }), told, last])
  expect(events.slice(1)).toMatchObject([
    { kind: 'event', data: { text: 'ja', data: told } },
    { kind: 'event', data: { text: '!', data: last } },
    {
      kind: 'end',
      data: { finish_reason: 'length', sha256: createHash('sha256').update('ja!').digest('hex') },
    },
  ])
})

test('of several choices only the first is proved, and none loses its opening', async () => {
  const opening = chunk({ index: 1, delta: { role: 'assistant', content: '' } })
  const events = await written([
    chunk({ delta: { role: 'assistant' } }),
    opening,
    chunk({ delta: { content: 'a' } }),
    chunk({ index: 1, delta: { content: 'b' } }),
  ])
  expect(events.slice(1, 4)).toMatchObject([
    { kind: 'event', data: { data: opening } },
    { kind: 'delta', data: { text: 'a' } },
    { kind: 'delta', data: { text: 'b', choice: 1 } },
  ])
  expect(events[4]?.data).toMatchObject({ sha256: createHash('sha256').update('a').digest('hex') })
})

test('nothing comes after a failure', async () => {
  const { scribe, read } = await scribing()
  scribe.fail(new HelixError('engine_failed', 'The engine failed.', { retryable: false }))
  scribe.fail(new HelixError('deadline_exceeded', 'Late.'))
  scribe.complete()
  expect(read()).toMatchObject([
    { seq: 1, kind: 'error', data: { error: { code: 'engine_failed' }, retryable: false } },
  ])
})

function chunk(choice: Answer): Answer {
  return { ...HEAD, choices: [{ index: 0, finish_reason: null, ...choice }] }
}

/** What is read of a stream into which these chunks were written, cut at odd places. */
async function written(chunks: readonly Answer[]) {
  const { scribe, read } = await scribing()
  const recipient = new StreamRecipient(scribe)
  const bytes = Buffer.from(
    [...chunks.map((one) => `data: ${JSON.stringify(one)}\n\n`), 'data: [DONE]\n\n'].join(''),
  )
  for (let at = 0; at < bytes.length; at += 7) recipient.write(bytes.subarray(at, at + 7))
  return read()
}

async function scribing() {
  const store = new MemoryStreams({
    eventsMax: 100,
    bytesMax: 100_000,
    keepMs: 1_000,
    clock: new ManualClock(),
  })
  const head = {
    id: `str_${'0'.repeat(32)}`,
    epoch: 'e',
    tenant: 'org',
    projectId: 'project',
    kind: 'chat' as const,
    requestId: 'req',
    model: 'm',
    createdAtMs: 0,
    includeUsage: true,
    detachMs: 30_000,
  }
  const writer = await store.create(head, { cancel: () => {} })
  const cursor = writer.stream.open(0, { ready: () => {}, lost: () => {} }) as Cursor
  const read = () => {
    const events = []
    for (let event = cursor.next(); event; event = cursor.next())
      events.push({ ...event, data: JSON.parse(event.data) as unknown })
    return events
  }
  return { scribe: new ChatScribe(writer), read }
}
