import OpenAI, { APIError } from 'openai'
import type { ResponseStreamEvent } from 'openai/resources/responses/responses'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { helixflow } from '../support/helixflow.ts'
import { type Server, startServer } from '../support/server.ts'

let server: Server
let client: OpenAI
beforeAll(async () => {
  server = await startServer()
  client = new OpenAI({ baseURL: server.url, apiKey: server.apiKey, maxRetries: 0 })
})
afterAll(async () => {
  expect(await server.stop()).toBe(0)
})

const hello = { model: 'tiny', input: 'Hello', max_output_tokens: 12, temperature: 0 }
const tool = {
  type: 'function' as const,
  name: 'get_weather',
  strict: true,
  parameters: {
    type: 'object',
    properties: { city: { type: 'string', maxLength: 8 } },
    required: ['city'],
  },
}

async function failure(work: Promise<unknown>): Promise<APIError> {
  const error = await work.then(
    () => expect.unreachable('it did not fail'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(APIError)
  return error as APIError
}

async function eventsOf(stream: Promise<AsyncIterable<ResponseStreamEvent>>) {
  const events: ResponseStreamEvent[] = []
  for await (const event of await stream) events.push(event)
  return events
}

describe('a response', () => {
  test('answers with text and usage, and can be asked for again', async () => {
    const response = await client.responses.create({ ...hello, metadata: { a: 'b' }, user: 'u' })
    expect(response.output_text.length).toBeGreaterThan(0)
    expect(response).toMatchObject({
      object: 'response',
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      model: 'tiny',
      metadata: { a: 'b' },
      usage: { output_tokens: 12 },
    })
    expect(await client.responses.retrieve(response.id)).toEqual(response)
  })

  test('streams the text that it gives whole, and the helper makes the same of it', async () => {
    const whole = await client.responses.create(hello)
    const events = await eventsOf(client.responses.create({ ...hello, stream: true }))
    const text = events
      .map((event) => (event.type === 'response.output_text.delta' ? event.delta : ''))
      .join('')
    expect(text).toBe(whole.output_text)
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, at) => at))
    expect([events[0]?.type, events.at(-1)?.type]).toEqual(['response.created', 'response.incomplete'])
    const helped = await client.responses.stream(hello).finalResponse()
    expect(helped.output_text).toBe(whole.output_text)
    expect(helped.usage?.output_tokens).toBe(12)
  })

  test('gives log probabilities where they were asked for, and later where they are asked for again', async () => {
    const include = ['message.output_text.logprobs' as const]
    const response = await client.responses.create({
      ...hello,
      max_output_tokens: 3,
      include,
      top_logprobs: 2,
    })
    const logprobs = (from: OpenAI.Responses.Response) => {
      const [message] = from.output
      const [part] = message?.type === 'message' ? message.content : []
      return part?.type === 'output_text' ? part.logprobs : undefined
    }
    expect(logprobs(response)).toHaveLength(3)
    for (const one of logprobs(response) ?? []) expect(one.top_logprobs).toHaveLength(2)
    expect(logprobs(await client.responses.retrieve(response.id))).toEqual([])
    expect(logprobs(await client.responses.retrieve(response.id, { include }))).toEqual(logprobs(response))
  })

  test('follows a JSON schema to the letter', async () => {
    const schema = {
      type: 'object',
      properties: { colour: { enum: ['red', 'green'] } },
      required: ['colour'],
      additionalProperties: false,
    }
    const format = { type: 'json_schema' as const, name: 'thing', strict: true, schema }
    const response = await client.responses.create({ ...hello, max_output_tokens: 200, text: { format } })
    expect(['red', 'green']).toContain(JSON.parse(response.output_text).colour)
  })

  test('calls a tool, whole and streamed, and goes on with its answer', async () => {
    const request = { ...hello, max_output_tokens: 200, tools: [tool], tool_choice: 'required' as const }
    const response = await client.responses.create(request)
    const [call] = response.output
    if (call?.type !== 'function_call') expect.unreachable()
    expect(call).toMatchObject({ name: 'get_weather', status: 'completed' })
    expect(JSON.parse(call.arguments)).toHaveProperty('city')
    const streamed = await client.responses.stream(request).finalResponse()
    expect(streamed.output[0]).toMatchObject({ type: 'function_call', arguments: call.arguments })
    const output = { type: 'function_call_output' as const, call_id: call.call_id, output: 'sunny' }
    const byId = await client.responses.create({
      ...hello,
      input: [output],
      previous_response_id: response.id,
      tools: [tool],
    })
    const said = response.output as OpenAI.Responses.ResponseInputItem[]
    const input = [{ role: 'user' as const, content: 'Hello' }, ...said, output]
    const byItems = await client.responses.create({ ...hello, input, tools: [tool] })
    expect(byId.output_text.length).toBeGreaterThan(0)
    expect(byId.output_text).toBe(byItems.output_text)
    expect(byId.usage?.input_tokens).toBe(byItems.usage?.input_tokens)
  })

  test('continues an earlier one, whose items are listed page by page', async () => {
    const first = await client.responses.create({ ...hello, instructions: 'Only then.' })
    const second = await client.responses.create({ ...hello, input: 'And?', previous_response_id: first.id })
    const third = await client.responses.create({
      ...hello,
      previous_response_id: second.id,
      input: [
        { role: 'user', content: 'a' },
        { role: 'user', content: 'b' },
        { role: 'user', content: 'c' },
      ],
    })
    const lone = await client.responses.create({ ...hello, input: 'And?' })
    expect(second.usage?.input_tokens).toBeGreaterThan(lone.usage?.input_tokens ?? Number.POSITIVE_INFINITY)
    expect(third.previous_response_id).toBe(second.id)
    const texts = async (order: 'asc' | 'desc') => {
      const said: string[] = []
      // Two to a page: the client asks for the next by itself.
      for await (const item of client.responses.inputItems.list(third.id, { limit: 2, order })) {
        const [part] = item.type === 'message' ? item.content : []
        said.push(part && 'text' in part ? part.text : '')
      }
      return said
    }
    expect(await texts('asc')).toEqual(['a', 'b', 'c'])
    expect(await texts('desc')).toEqual(['c', 'b', 'a'])
  })

  test('that was not to be kept, or was deleted, is not there', async () => {
    const unkept = await client.responses.create({ ...hello, store: false })
    expect(await failure(client.responses.retrieve(unkept.id))).toMatchObject({
      status: 404,
      code: 'not_found',
    })
    const kept = await client.responses.create(hello)
    await client.responses.delete(kept.id)
    expect(await failure(client.responses.retrieve(kept.id))).toMatchObject({
      status: 404,
      code: 'not_found',
    })
    expect(await failure(client.responses.delete(kept.id))).toMatchObject({ status: 404 })
    for (const previous_response_id of [unkept.id, kept.id, 'resp_x'])
      expect(await failure(client.responses.create({ ...hello, previous_response_id }))).toMatchObject({
        status: 400,
        code: 'previous_response_not_found',
        param: 'previous_response_id',
      })
  })

  test.each([
    ['an unknown model', { model: 'nope' }, 404, 'model_not_found', 'model'],
    [
      'an input longer than the context',
      { input: 'word '.repeat(3_000) },
      400,
      'context_length_exceeded',
      'input',
    ],
    [
      'a parameter that is not there',
      { reasoning: { effort: 'low' } },
      400,
      'unsupported_parameter',
      'reasoning',
    ],
    [
      'a schema that nothing satisfies',
      { text: { format: { type: 'json_schema', name: 's', schema: { $ref: '#/x' } } } },
      400,
      'invalid_value',
      'text.format.schema',
    ],
  ])('with %s is refused', async (_name, change, status, code, param) => {
    const body = { ...hello, ...change } as OpenAI.Responses.ResponseCreateParamsNonStreaming
    expect(await failure(client.responses.create(body))).toMatchObject({ status, code, param })
  })
})

describe('in the background', () => {
  const background = { ...hello, max_output_tokens: 300, background: true }

  test('a response goes on by itself, and is followed from any point', async () => {
    const queued = await client.responses.create(background)
    expect(queued).toMatchObject({ status: 'queued', background: true, output: [] })
    const events = await eventsOf(client.responses.retrieve(queued.id, { stream: true }))
    const rest = await eventsOf(client.responses.retrieve(queued.id, { stream: true, starting_after: 9 }))
    expect(rest).toEqual(events.slice(10))
    const done = await client.responses.retrieve(queued.id)
    expect(done.status).toBe('incomplete')
    expect(events.at(-1)).toMatchObject({ type: 'response.incomplete', response: { output: done.output } })
    const helped = await client.responses
      .stream({ response_id: queued.id, starting_after: 9 })
      .finalResponse()
    expect(helped.output_text).toBe(done.output_text)
  })

  test('it is streamed to who wants to see it begin, and goes on when they leave', async () => {
    const stream = await client.responses.create({ ...background, stream: true })
    let id = ''
    for await (const event of stream) {
      if (event.type === 'response.created') id = event.response.id
      if (event.type === 'response.output_text.delta') break
    }
    await expect.poll(async () => (await client.responses.retrieve(id)).status).toBe('incomplete')
    expect((await client.responses.retrieve(id)).usage?.output_tokens).toBe(300)
  })

  test('it is cancelled, once and as often as one likes; one in the foreground is not', async () => {
    const queued = await client.responses.create({ ...background, max_output_tokens: 900, temperature: 1 })
    const cancelled = await client.responses.cancel(queued.id)
    expect(cancelled.status).toBe('cancelled')
    expect(await client.responses.cancel(queued.id)).toEqual(cancelled)
    const foreground = await client.responses.create(hello)
    expect(await failure(client.responses.cancel(foreground.id))).toMatchObject({ status: 400 })
  })

  test('one that is refused later is told as failed', async () => {
    const queued = await client.responses.create({ ...background, input: 'word '.repeat(3_000) })
    const events = await eventsOf(client.responses.retrieve(queued.id, { stream: true }))
    expect(events.map(({ type }) => type)).toEqual(['response.created', 'response.queued', 'response.failed'])
    expect(await client.responses.retrieve(queued.id)).toMatchObject({
      status: 'failed',
      error: { code: 'invalid_prompt', message: expect.stringContaining('at most 1024 tokens') },
    })
  })
})

describe('tenants', () => {
  /** A client of another project, and one of another organisation. */
  async function strangers(): Promise<OpenAI[]> {
    const run = async (...args: string[]) => JSON.parse((await helixflow(server, ...args, '--json')).out)
    const project = await run('projects', 'create', 'other')
    const organisation = await run('orgs', 'create', 'Other')
    const theirs = await run('projects', 'create', 'theirs', '--organisation', organisation.id)
    const keys = [
      await run('keys', 'create', 'k', '--project-id', project.id),
      await run('keys', 'create', 'k', '--project-id', theirs.id, '--organisation', organisation.id),
    ]
    return keys.map(({ plaintext }) => new OpenAI({ baseURL: server.url, apiKey: plaintext, maxRetries: 0 }))
  }

  test('see nothing of each other’s responses and streams', async () => {
    const others = await strangers()
    const response = await client.responses.create({ ...hello, max_output_tokens: 900, background: true })
    const streamed = await client.chat.completions
      .create(
        { model: 'tiny', messages: [{ role: 'user', content: 'x' }], max_tokens: 3, stream: true },
        { headers: { 'x-helixflow-detach': '1m' } },
      )
      .withResponse()
    for await (const _ of streamed.data);
    const stream = streamed.response.headers.get('x-helixflow-stream')
    for (const stranger of others) {
      const asked = [
        stranger.responses.retrieve(response.id),
        stranger.responses.retrieve(response.id, { stream: true }),
        stranger.responses.inputItems.list(response.id),
        stranger.responses.cancel(response.id),
        stranger.responses.delete(response.id),
        stranger.get(`/streams/${stream}`),
        stranger.delete(`/streams/${stream}`),
        stranger.get(`/streams/${response.id}`),
        stranger.delete(`/streams/${response.id}`),
      ]
      const refusals = await Promise.all(asked.map((one) => failure(Promise.resolve(one))))
      expect(refusals.map(({ status, code }) => [status, code])).toEqual(asked.map(() => [404, 'not_found']))
      expect(
        await failure(stranger.responses.create({ ...hello, previous_response_id: response.id })),
      ).toMatchObject({ status: 400, code: 'previous_response_not_found' })
      // What does not exist is refused in the same words.
      const nothing = `resp_${'0'.repeat(32)}`
      const words = (refusal: APIError) => refusal.message.replaceAll(/(resp|str)_[0-9a-f]{32}/g, '')
      expect(words(await failure(stranger.responses.retrieve(response.id)))).toBe(
        words(await failure(stranger.responses.retrieve(nothing))),
      )
    }
    // What they tried had no effect.
    expect((await client.responses.retrieve(response.id)).status).not.toBe('cancelled')
  })
})
