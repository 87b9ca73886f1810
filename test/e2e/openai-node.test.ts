import OpenAI, { APIError } from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Server, startServer } from '../support/server.ts'

let server: Server
let client: OpenAI
const messages = [{ role: 'user' as const, content: 'Hello' }]
const tools = [
  {
    type: 'function' as const,
    function: {
      name: 'get_weather',
      parameters: {
        type: 'object',
        properties: { city: { type: 'string', maxLength: 8 } },
        required: ['city'],
      },
    },
  },
]

beforeAll(async () => {
  server = await startServer()
  client = new OpenAI({ baseURL: server.url, apiKey: server.apiKey, maxRetries: 0 })
})
afterAll(async () => {
  expect(await server.stop()).toBe(0)
})

async function failure(work: Promise<unknown>): Promise<APIError> {
  const error = await work.then(
    () => expect.unreachable('it did not fail'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(APIError)
  return error as APIError
}

describe('models', () => {
  test('are listed, and shown one by one', async () => {
    const { data } = await client.models.list()
    expect(data).toMatchObject([{ id: 'tiny', object: 'model', owned_by: 'helixflow' }])
    expect(await client.models.retrieve('tiny')).toMatchObject({ id: 'tiny' })
  })

  test('that do not exist are 404', async () => {
    expect(await failure(client.models.retrieve('nope'))).toMatchObject({
      status: 404,
      code: 'model_not_found',
    })
  })
})

describe('chat completions', () => {
  test('answer, with usage, the id of the request and the model', async () => {
    const { data, response } = await client.chat.completions
      .create({ model: 'tiny', messages, max_tokens: 7 })
      .withResponse()
    expect(data.choices[0]?.message.content?.length).toBeGreaterThan(0)
    expect(data.choices[0]?.finish_reason).toBe('length')
    expect(data.usage?.completion_tokens).toBe(7)
    expect(data.model).toBe('tiny')
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{24}$/)
    expect(response.headers.get('x-helixflow-model')).toBe('tiny')
    expect(Number(response.headers.get('openai-processing-ms'))).toBeGreaterThan(0)
  })

  test('stream the same text as they answer', async () => {
    const request = { model: 'tiny', messages, max_tokens: 12, temperature: 0, seed: 1 }
    const whole = await client.chat.completions.create(request)
    const stream = await client.chat.completions.create({ ...request, stream: true })
    let text = ''
    let usageSeen = false
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      usageSeen ||= chunk.usage != null
    }
    expect(text).toBe(whole.choices[0]?.message.content)
    expect(usageSeen).toBe(false)
  })

  test('give the usage of a stream once, in its last chunk, when asked', async () => {
    const stream = await client.chat.completions.create({
      model: 'tiny',
      messages,
      max_tokens: 5,
      n: 2,
      stream: true,
      stream_options: { include_usage: true },
    })
    const usages = []
    const choices = new Set<number>()
    for await (const chunk of stream) {
      for (const choice of chunk.choices) choices.add(choice.index)
      if (chunk.usage) usages.push({ ...chunk.usage, choices: chunk.choices.length })
    }
    expect(choices).toEqual(new Set([0, 1]))
    expect(usages).toMatchObject([{ completion_tokens: 10, choices: 0 }])
  })

  test('of several choices count all of them', async () => {
    const answer = await client.chat.completions.create({ model: 'tiny', messages, max_tokens: 5, n: 3 })
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2])
    expect(answer.usage?.completion_tokens).toBe(15)
  })

  test('are the same for the same seed and differ for others', async () => {
    const ask = async (seed: number) =>
      (await client.chat.completions.create({ model: 'tiny', messages, max_tokens: 20, seed })).choices[0]
        ?.message.content
    const [one, again, other] = [await ask(1), await ask(1), await ask(2)]
    expect(again).toBe(one)
    expect(other).not.toBe(one)
  })

  test('stop at a stop string, obey a token bias, and give log probabilities', async () => {
    const request = { model: 'tiny', messages, max_tokens: 30, temperature: 0 }
    const free = (await client.chat.completions.create(request)).choices[0]?.message.content ?? ''
    const stop = free.slice(3, 5)
    const stopped = await client.chat.completions.create({ ...request, stop })
    expect(stopped.choices[0]?.finish_reason).toBe('stop')
    expect(stopped.choices[0]?.message.content).not.toContain(stop)
    const ended = await client.chat.completions.create({ ...request, logit_bias: { '2': 100 } })
    expect(ended.choices[0]?.finish_reason).toBe('stop')
    const probable = await client.chat.completions.create({
      ...request,
      max_tokens: 3,
      logprobs: true,
      top_logprobs: 2,
    })
    const content = probable.choices[0]?.logprobs?.content ?? []
    expect(content).toHaveLength(3)
    for (const { logprob, top_logprobs } of content) {
      expect(logprob).toBeLessThanOrEqual(0)
      expect(top_logprobs).toHaveLength(2)
    }
  })

  test('follow a JSON schema to the letter', async () => {
    const schema = {
      type: 'object',
      properties: { colour: { enum: ['red', 'green'] }, count: { type: 'integer', minimum: 0, maximum: 9 } },
      required: ['colour', 'count'],
      additionalProperties: false,
    }
    const answer = await client.chat.completions.create({
      model: 'tiny',
      messages,
      max_tokens: 200,
      response_format: { type: 'json_schema', json_schema: { name: 'thing', strict: true, schema } },
    })
    const value = JSON.parse(answer.choices[0]?.message.content ?? '')
    expect(Object.keys(value)).toEqual(['colour', 'count'])
    expect(['red', 'green']).toContain(value.colour)
    expect(value.count).toBeGreaterThanOrEqual(0)
  })

  test.each([
    ['required', 'required' as const],
    ['named', { type: 'function' as const, function: { name: 'get_weather' } }],
  ])('call a tool when the choice is %s, whole and streamed', async (_name, tool_choice) => {
    const request = { model: 'tiny', messages, tools, tool_choice, max_tokens: 200 }
    const whole = await client.chat.completions.create(request)
    expect(whole.choices[0]?.finish_reason).toBe('tool_calls')
    const [call] = whole.choices[0]?.message.tool_calls ?? []
    expect(call).toMatchObject({ type: 'function', function: { name: 'get_weather' } })
    expect(JSON.parse(call?.type === 'function' ? call.function.arguments : '')).toHaveProperty('city')
    const stream = client.chat.completions.stream(request)
    const [streamed] = (await stream.finalMessage()).tool_calls ?? []
    expect(streamed).toMatchObject({ type: 'function', function: { name: 'get_weather' } })
  })

  test('take back the calls that they made and the answers of the tools', async () => {
    const answer = await client.chat.completions.create({
      model: 'tiny',
      max_tokens: 3,
      tools,
      messages: [
        ...messages,
        {
          role: 'assistant',
          content: null,
          refusal: null,
          tool_calls: [
            { id: 'c1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Paris"}' } },
          ],
        },
        { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
      ],
    })
    expect(answer.usage?.completion_tokens).toBe(3)
  })
})

describe('text completions', () => {
  test('answer several prompts, each with log probabilities in their own form', async () => {
    const answer = await client.completions.create({
      model: 'tiny',
      prompt: ['a', 'b'],
      max_tokens: 4,
      logprobs: 2,
    })
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1])
    expect(answer.usage?.completion_tokens).toBe(8)
    for (const { logprobs } of answer.choices) {
      expect(logprobs?.tokens).toHaveLength(4)
      expect(logprobs?.text_offset?.[0]).toBe(0)
    }
  })

  test('stream', async () => {
    const stream = await client.completions.create({
      model: 'tiny',
      prompt: 'a',
      max_tokens: 4,
      stream: true,
    })
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.text ?? ''
    expect(text.length).toBeGreaterThan(0)
  })
})

test('embeddings are vectors of one length, as numbers and as base64', async () => {
  const { data, usage } = await client.embeddings.create({ model: 'tiny', input: ['one', 'two'] })
  expect(data).toHaveLength(2)
  expect(data[0]?.embedding).toHaveLength(64)
  expect(usage.prompt_tokens).toBeGreaterThan(0)
  const floats = await client.embeddings.create({ model: 'tiny', input: 'one', encoding_format: 'float' })
  expect(floats.data[0]?.embedding[0]).toBeCloseTo(data[0]?.embedding[0] ?? 0, 4)
})

test('a text is cut into tokens', async () => {
  const answer = await client.post<{ tokens: number[]; count: number; token_strs: string[] }>(
    '/../tokenize',
    {
      body: { model: 'tiny', prompt: 'Hello there', return_token_strs: true },
    },
  )
  expect(answer.count).toBe(answer.tokens.length)
  expect(answer.token_strs.join('')).toBe('Hello there')
})

describe('failures', () => {
  const ask = (body: object) =>
    client.post('/chat/completions', { body: { model: 'tiny', messages, ...body } })

  test('no key and a wrong key are 401, and say which', async () => {
    const wrong = new OpenAI({ baseURL: server.url, apiKey: 'hf_live_wrong', maxRetries: 0 })
    expect(await failure(wrong.models.list())).toMatchObject({ status: 401, code: 'invalid_api_key' })
    const answer = await fetch(`${server.url}/models`)
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
    expect(await answer.json()).toMatchObject({ error: { code: 'missing_api_key' } })
  })

  test('a prompt longer than the context is refused, with both numbers', async () => {
    const error = await failure(ask({ messages: [{ role: 'user', content: 'word '.repeat(3_000) }] }))
    expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded', param: 'messages' })
    expect(error.message).toMatch(/at most 1024 tokens here, and the input has \d+/)
  })

  test.each([
    ['an unknown model', { model: 'nope' }, 404, 'model_not_found', 'model'],
    ['a parameter that nobody knows', { temprature: 1 }, 400, 'unsupported_parameter', 'temprature'],
    ['a value out of range', { top_p: 7 }, 400, 'invalid_value', 'top_p'],
    [
      'a token that the model does not have',
      { logit_bias: { '99999': 1 } },
      400,
      'invalid_value',
      'logit_bias',
    ],
    ['more choices than slots', { n: 99 }, 400, 'invalid_value', 'n'],
  ])('%s', async (_name, body, status, code, param) => {
    expect(await failure(ask(body))).toMatchObject({
      status,
      code,
      param,
      requestID: expect.stringMatching(/^req_/),
    })
  })

  test('a wrong address, method, content type and body are told apart', async () => {
    const send = (path: string, init: RequestInit = {}) =>
      fetch(`${server.origin}${path}`, {
        ...init,
        headers: { authorization: `Bearer ${server.apiKey}`, ...init.headers },
      })
    const json = { 'content-type': 'application/json' }
    const cases: [Promise<Response>, number, string][] = [
      [send('/v1/nothing'), 404, 'unknown_url'],
      [send('/v1/chat/completions'), 405, 'method_not_allowed'],
      [
        send('/v1/chat/completions', {
          method: 'POST',
          body: 'x',
          headers: { 'content-type': 'text/plain' },
        }),
        415,
        'unsupported_media_type',
      ],
      [send('/v1/chat/completions', { method: 'POST', body: '{', headers: json }), 400, 'invalid_json'],
      [
        send('/v1/chat/completions', { method: 'POST', body: ' '.repeat(9e6), headers: json }),
        413,
        'request_too_large',
      ],
    ]
    for (const [answer, status, code] of cases) {
      const response = await answer
      expect([response.status, await response.json()]).toMatchObject([status, { error: { code } }])
      expect(response.headers.get('x-request-id')).toMatch(/^req_/)
    }
  })
})

describe('a client that leaves', () => {
  test('stops the engine: the slot is free again at once', async () => {
    const cancel = new AbortController()
    const stream = await client.chat.completions.create(
      { model: 'tiny', messages, max_tokens: 900, stream: true },
      { signal: cancel.signal },
    )
    for await (const _ of stream) break
    cancel.abort()
    await server.logged(/"status":499[^\n]*client_closed_request/)
    const startedMs = performance.now()
    await client.chat.completions.create({ model: 'tiny', messages, max_tokens: 1, n: 4 })
    expect(performance.now() - startedMs).toBeLessThan(5_000)
  })
})
