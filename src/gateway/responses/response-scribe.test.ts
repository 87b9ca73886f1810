import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { parseRequest } from '../../contracts/openai/parse.ts'
import { ResponseRequest } from '../../contracts/openai/responses.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { MemoryStreams } from '../../streams/memory-streams.ts'
import type { Cursor } from '../../streams/stream.ts'
import type { Answer } from '../dispatch/exchange.ts'
import { newResponse, type ResponseObject } from './response-object.ts'
import { ResponseScribe } from './response-scribe.ts'

const ID = `resp_${'a'.repeat(32)}`

interface Told {
  readonly seq: number
  readonly kind: string
  readonly fields: Readonly<Record<string, unknown>>
  readonly event: {
    readonly type: string
    readonly sequence_number: number
    readonly [field: string]: unknown
  }
}

async function scribing(
  body: object = {},
  keep = (response: ResponseObject): Promise<ResponseObject> => Promise.resolve(response),
) {
  const clock = new ManualClock(7_000)
  const store = new MemoryStreams({ eventsMax: 1_000, bytesMax: 1e6, keepMs: 1_000, clock })
  const head = {
    id: ID,
    epoch: 'e',
    tenant: 'org',
    projectId: 'p',
    kind: 'response' as const,
    requestId: 'req',
    model: 'm',
    createdAtMs: 0,
    includeUsage: true,
    detachMs: 1_000,
  }
  const writer = await store.create(head, { cancel: () => {} })
  const request = parseRequest(ResponseRequest, { model: 'm', input: 'x', ...body })
  const begun: ResponseObject[] = []
  const scribe = new ResponseScribe({
    writer,
    response: newResponse(request, { id: ID, createdAtMs: 5_000 }),
    now: () => clock.now(),
    begun: (response) => begun.push(response),
    keep,
  })
  const cursor = writer.stream.open(0, { ready: () => {}, lost: () => {} }) as Cursor
  const read = (): Told[] => {
    const told: Told[] = []
    for (let event = cursor.next(); event; event = cursor.next()) {
      const { data, ...fields } = JSON.parse(event.data)
      told.push({ seq: event.seq, kind: event.kind, fields, event: data })
    }
    return told
  }
  return { scribe, read, begun }
}

function chunk(choice: Answer): Answer {
  return { id: 'c', choices: [{ index: 0, finish_reason: null, ...choice }] }
}

/** What is told of these chunks, and then the end. */
async function written(chunks: readonly Answer[], body: object = {}): Promise<Told[]> {
  const { scribe, read } = await scribing(body)
  for (const one of chunks) scribe.chunk(one)
  scribe.complete()
  await scribe.written
  return read()
}

const responseOf = (told: readonly Told[]) => told.at(-1)?.event['response'] as ResponseObject
const types = (told: readonly Told[]) => told.map(({ event }) => event.type)
const USAGE = {
  id: 'c',
  choices: [],
  usage: { prompt_tokens: 3, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 2 } },
}

test('a text is told piece by piece, whole at its end, and again in the response; the stream proves it', async () => {
  const told = await written([
    chunk({ delta: { role: 'assistant', content: null } }),
    chunk({ delta: { content: 'Grüße ' } }),
    chunk({ delta: { content: '🙂' } }),
    chunk({ delta: {}, finish_reason: 'stop' }),
    USAGE,
  ])
  expect(types(told)).toEqual([
    'response.created',
    'response.in_progress',
    'response.output_item.added',
    'response.content_part.added',
    'response.output_text.delta',
    'response.output_text.delta',
    'response.output_text.done',
    'response.content_part.done',
    'response.output_item.done',
    'response.completed',
  ])
  expect(told.map(({ event }) => event.sequence_number)).toEqual(told.map(({ seq }) => seq - 1))
  expect(told.map(({ kind }) => kind)).toEqual(['start', ...Array(8).fill('event'), 'end'])
  const id = `msg_${'a'.repeat(32)}0000`
  const part = { type: 'output_text', text: 'Grüße 🙂', annotations: [], logprobs: [] }
  const item = { id, type: 'message', status: 'completed', role: 'assistant', content: [part] }
  expect(told[4]).toMatchObject({
    fields: { text: 'Grüße ' },
    event: { item_id: id, output_index: 0, content_index: 0, delta: 'Grüße ', logprobs: [] },
  })
  expect(told[6]?.event).toMatchObject({ text: 'Grüße 🙂' })
  expect(told[8]?.event).toMatchObject({ item })
  expect(told[9]?.event['response']).toMatchObject({
    id: ID,
    status: 'completed',
    created_at: 5,
    completed_at: 7,
    output: [item],
    usage: { input_tokens: 3, input_tokens_details: { cached_tokens: 2 }, output_tokens: 4, total_tokens: 7 },
  })
  expect(told[9]?.fields).toMatchObject({
    last_seq: 10,
    finish_reason: 'stop',
    usage: { output_tokens: 4 },
    sha256: createHash('sha256').update('Grüße 🙂').digest('hex'),
  })
  expect(told[0]?.fields).toMatchObject({ kind: 'response', response_id: ID, model: 'm', created: 5 })
})

test('calls are told with their arguments, also those that grow beside each other', async () => {
  const call = (index: number, more: object) => chunk({ delta: { tool_calls: [{ index, ...more }] } })
  const told = await written([
    chunk({ delta: { content: 'Wait.' } }),
    call(0, { id: 'c1', function: { name: 'f', arguments: '' } }),
    call(0, { function: { arguments: '{"a"' } }),
    call(1, { id: 'c2', function: { name: 'g', arguments: '{}' } }),
    call(0, { function: { arguments: ':1}' } }),
    chunk({ delta: {}, finish_reason: 'tool_calls' }),
  ])
  expect(types(told).slice(4)).toEqual([
    'response.output_text.delta',
    'response.output_text.done',
    'response.content_part.done',
    'response.output_item.done',
    'response.output_item.added',
    'response.function_call_arguments.delta',
    'response.output_item.added',
    'response.function_call_arguments.delta',
    'response.function_call_arguments.delta',
    'response.function_call_arguments.done',
    'response.output_item.done',
    'response.function_call_arguments.done',
    'response.output_item.done',
    'response.completed',
  ])
  const response = responseOf(told)
  expect(response.output).toMatchObject([
    { type: 'message', status: 'completed' },
    { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{"a":1}', status: 'completed' },
    { type: 'function_call', call_id: 'c2', name: 'g', arguments: '{}', status: 'completed' },
  ])
  expect(
    told
      .filter(({ event }) => event.type.endsWith('arguments.delta'))
      .map(({ event }) => event['output_index']),
  ).toEqual([1, 2, 1])
})

test('what was thought is an item of its own before what is said', async () => {
  const told = await written([
    chunk({ delta: { reasoning_content: 'h' } }),
    chunk({ delta: { reasoning_content: 'm' } }),
    chunk({ delta: { content: 'Yes' } }),
    chunk({ delta: {}, finish_reason: 'stop' }),
  ])
  const response = responseOf(told)
  expect(response.output).toMatchObject([
    { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
    { type: 'message', content: [{ text: 'Yes' }] },
  ])
  expect(types(told).slice(2, 9)).toEqual([
    'response.output_item.added',
    'response.content_part.added',
    'response.reasoning_text.delta',
    'response.reasoning_text.delta',
    'response.reasoning_text.done',
    'response.content_part.done',
    'response.output_item.done',
  ])
  expect(told.at(-1)?.fields['sha256']).toBe(createHash('sha256').update('Yes').digest('hex'))
})

test('log probabilities come with the piece that their tokens made, and all of them with the item', async () => {
  const logprobs = (token: string) => ({
    content: [{ token, logprob: -1, bytes: [1], top_logprobs: [{ token: 'x', logprob: -2, bytes: [2] }] }],
  })
  const told = await written([
    chunk({ delta: { content: '' }, logprobs: logprobs('half') }),
    chunk({ delta: { content: 'é' }, logprobs: logprobs('rest') }),
    chunk({ delta: {}, finish_reason: 'stop' }),
  ])
  const deltas = told.filter(({ event }) => event.type === 'response.output_text.delta')
  expect(deltas.map(({ event }) => event['logprobs'])).toEqual([
    [
      { token: 'half', logprob: -1, top_logprobs: [{ token: 'x', logprob: -2 }] },
      { token: 'rest', logprob: -1, top_logprobs: [{ token: 'x', logprob: -2 }] },
    ],
  ])
  const response = responseOf(told)
  expect(response.output).toMatchObject([
    { content: [{ logprobs: [{ token: 'half', bytes: [1] }, { token: 'rest' }] }] },
  ])
})

test('a call without a word of arguments has none, in JSON; one that was cut stays as it came', async () => {
  const call = chunk({
    delta: { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '' } }] },
  })
  const told = await written([call, chunk({ delta: {}, finish_reason: 'tool_calls' })])
  expect(responseOf(told).output).toMatchObject([{ type: 'function_call', arguments: '{}' }])
  const said = (type: string, field: string) => told.find(({ event }) => event.type === type)?.event[field]
  expect(said('response.function_call_arguments.delta', 'delta')).toBe('{}')
  expect(said('response.function_call_arguments.done', 'arguments')).toBe('{}')
  expect(said('response.output_item.done', 'item')).toMatchObject({ arguments: '{}' })
  const cut = await written([call, chunk({ delta: {}, finish_reason: 'length' })])
  expect(responseOf(cut).output).toMatchObject([{ status: 'incomplete', arguments: '' }])
})

test('log probabilities of thoughts and calls are no words of a message', async () => {
  const logprobs = { content: [{ token: 't', logprob: -1, bytes: [1], top_logprobs: [] }] }
  const call = { index: 0, id: 'c', function: { name: 'f', arguments: '{' } }
  const told = await written([
    chunk({ delta: { reasoning_content: 'h' }, logprobs }),
    chunk({ delta: {}, logprobs }),
    chunk({ delta: { reasoning_content: 'm' }, logprobs }),
    chunk({ delta: { content: 'So' }, logprobs }),
    chunk({ delta: { tool_calls: [call] }, logprobs }),
    chunk({ delta: { tool_calls: [{ index: 0, function: { arguments: '}' } }] }, logprobs }),
    chunk({ delta: {}, logprobs, finish_reason: 'tool_calls' }),
  ])
  expect(responseOf(told).output).toMatchObject([
    { type: 'reasoning', content: [{ text: 'hm' }] },
    { type: 'message', content: [{ text: 'So', logprobs: [{ token: 't' }] }] },
    { type: 'function_call', arguments: '{}' },
  ])
})

test.each([
  ['length', 'max_output_tokens'],
  ['content_filter', 'content_filter'],
])('an answer that ends by %s is incomplete', async (finish, reason) => {
  const told = await written([chunk({ delta: { content: 'a' }, finish_reason: finish })])
  expect(told.at(-1)).toMatchObject({
    kind: 'end',
    fields: { finish_reason: finish },
    event: {
      type: 'response.incomplete',
      response: { status: 'incomplete', incomplete_details: { reason }, output: [{ status: 'incomplete' }] },
    },
  })
})

test('an answer without a word is an empty message', async () => {
  const told = await written([chunk({ delta: {}, finish_reason: 'stop' })])
  expect(told.at(-1)?.event).toMatchObject({
    response: { output: [{ type: 'message', content: [{ text: '' }] }] },
  })
})

test('what has not the form of a chunk is passed over', async () => {
  const told = await written([
    { choices: 'x' },
    { choices: [null] },
    chunk({ delta: 'x' }),
    chunk({ delta: { content: 7, tool_calls: [null, 'x', { function: null }] } }),
    chunk({ delta: { content: 'ok' }, logprobs: { content: [null, { top_logprobs: 'x' }] } }),
  ])
  expect(told.at(-1)?.kind).toBe('end')
})

describe('a failure', () => {
  const broken = new HelixError('engine_failed', 'The engine failed.', { retryable: false })

  test('before anything was said is no response', async () => {
    const { scribe, read } = await scribing()
    scribe.fail(broken)
    await scribe.written
    expect(read()).toEqual([
      {
        seq: 1,
        kind: 'error',
        event: undefined,
        fields: { ...broken.toBody(), status: 502, retryable: false },
      },
    ])
  })

  test('afterwards ends the response, with what there is of it; nothing follows', async () => {
    const { scribe, read } = await scribing()
    scribe.chunk(chunk({ delta: { content: 'a' } }))
    scribe.fail(broken)
    scribe.fail(new HelixError('deadline_exceeded', 'Late.'))
    scribe.complete()
    await scribe.written
    expect(read().slice(-2)).toMatchObject([
      { event: { type: 'response.output_text.delta' } },
      {
        kind: 'error',
        fields: { error: { code: 'engine_failed' }, retryable: false },
        event: {
          type: 'response.failed',
          response: {
            status: 'failed',
            error: { code: 'server_error', message: 'The engine failed.' },
            output: [{ status: 'incomplete', content: [{ text: 'a' }] }],
          },
        },
      },
    ])
  })

  test('of whom asked is no failure but a cancelled response', async () => {
    const { scribe, read } = await scribing({ background: true })
    scribe.fail(new HelixError('client_closed_request', 'Cancelled.'))
    await scribe.written
    expect(types(read())).toEqual(['response.created', 'response.queued', 'response.failed'])
    expect((await scribing()).begun).toEqual([])
  })
})

test('nobody is told of the end before it is kept, and then what became of it', async () => {
  let kept = () => {}
  const { scribe, read, begun } = await scribing(
    { background: true },
    (response) =>
      new Promise((resolve) => {
        kept = () => resolve({ ...response, store: false })
      }),
  )
  expect(types(read())).toEqual(['response.created', 'response.queued'])
  scribe.chunk(chunk({ delta: { content: 'a' }, finish_reason: 'stop' }))
  scribe.complete()
  expect(begun).toMatchObject([{ status: 'in_progress' }])
  expect(types(read()).at(-1)).toBe('response.output_item.done')
  kept()
  await scribe.written
  expect(read()).toMatchObject([{ kind: 'end', event: { response: { store: false, status: 'completed' } } }])
})
