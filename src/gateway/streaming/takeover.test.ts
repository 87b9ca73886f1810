import { expect, test } from 'vitest'
import type { Identity } from '../../contracts/auth.ts'
import type { ChatRequest } from '../../contracts/openai/chat.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { type LogFields, silentLog } from '../../core/log.ts'
import { noMetrics } from '../../core/metrics.ts'
import { noTracer } from '../../core/tracing.ts'
import { MemoryStreams } from '../../streams/memory-streams.ts'
import type { StreamWriter } from '../../streams/stream.ts'
import { isLast, type StreamEvent } from '../../streams/stream-event.ts'
import { Drain } from '../drain.ts'
import type { GenerationRequest } from '../generation.ts'
import { RequestMetrics } from '../metrics/request-metrics.ts'
import { chatRevival } from './chat-revival.ts'
import { StreamReaders } from './stream-readers.ts'
import { type Revive, Takeover } from './takeover.ts'

const messages = [{ role: 'user', content: 'Erzähl.' }]

test('the rest is asked for in the name of a reader as they are now, not as they were when they began to read', async () => {
  const { asked, events } = await takenOver({ request: { model: 'm', messages } }, chatRevival)
  expect(asked.map(({ identity }) => identity.models)).toEqual([['now']])
  expect(events.at(-1)?.kind).toBe('error')
})

test('whoever cannot be identified any more has nothing gone on with', async () => {
  const refusal = new HelixError('api_key_revoked', 'Revoked.')
  const { asked, events } = await takenOver({ request: { model: 'm', messages } }, chatRevival, () => {
    throw refusal
  })
  expect(asked).toEqual([])
  expect(JSON.parse(events.at(-1)?.data ?? '{}')).toMatchObject({ error: { code: 'api_key_revoked' } })
})

test.each([
  ['is taken on when it is gone on with', {}, 1],
  // What was said before a call of a tool cannot be told from half of an answer.
  ['is left alone when it cannot be', { tools: [{ type: 'function', function: { name: 'f' } }] }, 0],
])('what is kept of it %s', async (_how, change, taken) => {
  let begun = 0
  const revive: Revive = (again) => ({
    ...chatRevival(again),
    begun: () => {
      begun++
    },
  })
  const { events } = await takenOver({ request: { model: 'm', messages, ...change } }, revive)
  expect([events.at(-1)?.kind, begun]).toEqual(['error', taken])
})

test('what is gone on with has a line in the access log of its own, also where it fails', async () => {
  const { logged } = await takenOver({ request: { model: 'm', messages } }, chatRevival)
  await expect.poll(() => logged.length).toBe(1)
  expect(logged).toMatchObject([
    { method: 'CONTINUED', route: '/ws chat.create', model: 'm', status: 503, error: 'server_overloaded' },
  ])
})

/** A chat that another gateway began, and that one reader wants the rest of. */
async function takenOver(
  { request }: { readonly request: object },
  revive: Revive,
  identify: () => Identity = () => identityWith('now'),
) {
  const clock = new ManualClock()
  const streams = new MemoryStreams({ eventsMax: 100, bytesMax: 10_000, keepMs: 1_000, clock })
  const head = {
    id: `str_${'0'.repeat(32)}`,
    epoch: 'e',
    tenant: 'org_a',
    projectId: 'proj_a',
    kind: 'chat',
    requestId: 'req_1',
    model: 'm',
    createdAtMs: 0,
    includeUsage: true,
    detachMs: 30_000,
  } as const
  const writer = await streams.create(head, { cancel: () => {} })
  const soFar: StreamEvent[] = [
    { seq: 1, kind: 'start', data: '{"kind":"chat","response_id":"r","model":"m","created":1}' },
    { seq: 2, kind: 'delta', data: '{"text":"Es war"}' },
  ]
  for (const { kind, data } of soFar) writer.append(kind, data)
  const readers = new StreamReaders({ hold: () => () => {} })
  readers.begin(head.id, { identity: identityWith('then'), credential: 'hf_' })
  const asked: GenerationRequest[] = []
  const logged: LogFields[] = []
  const takeover = new Takeover({
    tracer: noTracer,
    generation: {
      begin: async (one) => {
        asked.push(one)
        throw new HelixError('server_overloaded', 'Full.')
      },
    },
    credentials: { identify },
    readers,
    drain: new Drain(),
    clock,
    log: silentLog,
    accessLog: { ...silentLog, info: (_event, fields) => void logged.push(fields ?? {}) },
    requests: new RequestMetrics(noMetrics, { label: (model) => model ?? '' }),
    revive: { chat: revive, response: revive },
  })
  const again = JSON.stringify({ request: request as ChatRequest, route: '/ws chat.create' })
  const taken: StreamWriter = {
    // As the store gives it to whoever takes it over.
    head: { ...head, again },
    stream: writer.stream,
    nextSeq: writer.nextSeq,
    append: (kind, data) => writer.append(kind, data),
    discard: () => writer.discard(),
  }
  takeover.goOn(taken, soFar)
  const events: StreamEvent[] = []
  await new Promise<void>((resolve) => {
    const read = () => {
      for (let event = cursor.next(); event; event = cursor.next()) {
        events.push(event)
        if (isLast(event)) resolve()
      }
    }
    const opened = writer.stream.open(0, { ready: () => read(), lost: () => {} })
    if (typeof opened === 'string') throw new Error(opened)
    const cursor = opened
    read()
  })
  return { asked, events, logged }
}

function identityWith(model: string): Identity {
  return {
    actor: 'key:k',
    organisationId: 'org_a',
    projectId: 'proj_a',
    keyId: 'k',
    userId: undefined,
    rights: { organisation: [], projects: {} },
    models: [model],
    ipRules: undefined,
    limits: [],
    expiresAtMs: undefined,
    subjects: [],
  }
}
