import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findPythonProblem, pythonWith } from '../support/python.ts'
import { type Server, startServer } from '../support/server.ts'

const REQUIREMENTS = ['openai==3.54.0']
const script = join(import.meta.dirname, 'openai_python.py')
const noPython = findPythonProblem([3, 10])

describe.skipIf(noPython)(`the official Python client${noPython ? ` (skipped: ${noPython})` : ''}`, () => {
  let server: Server
  let python: string

  beforeAll(async () => {
    python = await pythonWith(REQUIREMENTS)
    server = await startServer()
  })
  afterAll(async () => {
    if (server) expect(await server.stop()).toBe(0)
  })

  /** What one command of the script printed. */
  async function ask<T>(command: string): Promise<T> {
    const { stdout } = await promisify(execFile)(python, [script, command], {
      env: { BASE_URL: server.url, API_KEY: server.apiKey },
    })
    return JSON.parse(stdout)
  }

  test('lists models and shows one', async () => {
    expect(await ask('models')).toEqual({ listed: ['tiny'], shown: 'tiny' })
  })

  test('chats, and learns usage and the id of the request', async () => {
    expect(await ask('chat')).toMatchObject({
      object: 'chat.completion',
      model: 'tiny',
      choices: [
        { index: 0, finish_reason: 'length', message: { role: 'assistant', content: expect.any(String) } },
      ],
      usage: { completion_tokens: 7 },
      request_id: expect.stringMatching(/^req_[0-9a-f]{24}$/),
    })
  })

  test('streams the text that it gets whole, with usage once', async () => {
    const { whole, streamed, finish, usages } = await ask<{
      whole: string
      streamed: string
      finish: string[]
      usages: number[]
    }>('stream')
    expect(streamed).toBe(whole)
    expect(whole.length).toBeGreaterThan(0)
    expect(finish).toEqual(['length'])
    expect(usages).toEqual([12])
  })

  test('streams with asyncio, one log probability for each token', async () => {
    expect(await ask('async_stream')).toBe(9)
  })

  test('is given the tool call that it forces, whole and streamed, and sends it back', async () => {
    type Choice = {
      finish_reason: string
      message: { tool_calls: { function: { name: string; arguments: string } }[] }
    }
    const { whole, streamed, after } = await ask<{ whole: Choice; streamed: Choice; after: number }>('tools')
    for (const { finish_reason, message } of [whole, streamed]) {
      expect(finish_reason).toBe('tool_calls')
      expect(message.tool_calls).toHaveLength(1)
      expect(message.tool_calls[0]?.function.name).toBe('get_weather')
      expect(JSON.parse(message.tool_calls[0]?.function.arguments ?? '')).toHaveProperty('city')
    }
    expect(after).toBe(3)
  })

  test('gets what its JSON schema says', async () => {
    const value = await ask<{ colour: string; count: number }>('json_schema')
    expect(Object.keys(value)).toEqual(['colour', 'count'])
    expect(['red', 'green']).toContain(value.colour)
    expect(value.count).toBeGreaterThanOrEqual(0)
    expect(value.count).toBeLessThanOrEqual(9)
  })

  test('completes several prompts, each with log probabilities', async () => {
    expect(await ask('completions')).toMatchObject([
      { index: 0, tokens: 4 },
      { index: 1, tokens: 4 },
    ])
  })

  test('decodes embeddings from base64 to what they are as numbers', async () => {
    const { lengths, packed, plain, tokens } = await ask<{
      lengths: number[]
      packed: number[]
      plain: number[]
      tokens: number
    }>('embeddings')
    expect(lengths).toEqual([64, 64])
    expect(tokens).toBeGreaterThan(0)
    plain.forEach((value, at) => {
      expect(packed[at]).toBeCloseTo(value, 4)
    })
  })

  test('uses the Responses API: whole, streamed, in the background, one after another', async () => {
    const told = await ask<{ whole: string; numbers: readonly number[]; rest: number }>('responses')
    expect(told.whole.length).toBeGreaterThan(0)
    expect(told).toMatchObject({
      streamed: told.whole,
      types: ['response.created', 'response.incomplete'],
      queued: 'queued',
      kept: true,
      longer: true,
      items: ['Hello'],
    })
    expect(told.numbers).toEqual(told.numbers.map((_, at) => at))
    expect(told.rest).toBe(told.numbers.length - 6)
  })

  test('raises the exception of each failure, with code, parameter and request id', async () => {
    const failures = await ask<Record<string, { message: string; request_id: string }>>('errors')
    expect(failures).toMatchObject({
      'no key': { class: 'AuthenticationError', status: 401, code: 'missing_api_key' },
      'wrong key': { class: 'AuthenticationError', status: 401, code: 'invalid_api_key' },
      'unknown model': { class: 'NotFoundError', status: 404, code: 'model_not_found', param: 'model' },
      'unknown address': { class: 'NotFoundError', status: 404, code: 'unknown_url' },
      'too long': {
        class: 'BadRequestError',
        status: 400,
        code: 'context_length_exceeded',
        param: 'messages',
        message: expect.stringMatching(/at most 1024 tokens here, and the input has \d+/),
      },
      'unknown parameter': {
        class: 'BadRequestError',
        status: 400,
        code: 'unsupported_parameter',
        param: 'temprature',
      },
      'out of range': { class: 'BadRequestError', status: 400, code: 'invalid_value', param: 'top_p' },
    })
    for (const { request_id } of Object.values(failures)) expect(request_id).toMatch(/^req_/)
  })

  test('stops the engine by closing a stream: all slots are free at once, and the log says 499', async () => {
    const { first, request_id, choices, seconds } = await ask<{
      first: string
      request_id: string
      choices: number
      seconds: number
    }>('cancel')
    expect(first).toBe('chat.completion.chunk')
    expect(choices).toBe(4)
    expect(seconds).toBeLessThan(3)
    const line = await server.logged(new RegExp(`"request":"${request_id}"[^\\n]*`))
    expect(line[0]).toContain('"status":499')
    expect(line[0]).toContain('client_closed_request')
  })
})
