import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { HelixError } from '../../core/errors.ts'
import { parseRequest } from './parse.ts'
import { ResponseQuery, ResponseRequest } from './responses.ts'

const base = { model: 'm', input: 'Hi' }
const tool = { type: 'function', name: 'f', parameters: { type: 'object', properties: {} }, strict: true }

function refusal(change: object, schema: typeof ResponseRequest | typeof ResponseQuery = ResponseRequest) {
  try {
    parseRequest<object>(schema, schema === ResponseRequest ? { ...base, ...change } : change)
  } catch (reason) {
    if (reason instanceof HelixError) return [reason.code, reason.param]
    throw reason
  }
  return undefined
}

test('every parameter that the official client documents is known by name', () => {
  const types = createRequire(import.meta.url)
    .resolve('openai/resources/responses/responses')
    .replace(/\.js$/, '.d.ts')
  const [, body = ''] =
    /export interface ResponseCreateParamsBase \{([\s\S]*?)\n\}/.exec(readFileSync(types, 'utf8')) ?? []
  const documented = [...body.matchAll(/^ {4}(\w+)\??:/gm)].map((match) => match[1])
  expect(documented.length).toBeGreaterThan(25)
  expect(documented.filter((name) => name === undefined || !(name in ResponseRequest.shape))).toEqual([])
})

describe('what is taken', () => {
  test.each([
    { input: [{ role: 'user', content: 'a' }] },
    { input: [{ type: 'message', role: 'developer', content: [{ type: 'input_text', text: 'a' }] }] },
    { input: [{ role: 'assistant', content: 'a' }] },
    {
      input: [
        { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
        {
          type: 'message',
          id: 'msg_1',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: 'a', annotations: [], logprobs: [], parsed: null }],
        },
        {
          type: 'function_call',
          id: 'fc_1',
          call_id: 'c',
          name: 'f',
          arguments: '{}',
          parsed_arguments: null,
        },
        { type: 'function_call_output', call_id: 'c', output: [{ type: 'input_text', text: 'sunny' }] },
      ],
    },
    { tools: [tool], tool_choice: { type: 'function', name: 'f' }, parallel_tool_calls: true },
    { text: { format: { type: 'json_schema', name: 's', schema: { type: 'object' }, strict: true } } },
    { include: ['message.output_text.logprobs'], top_logprobs: 2 },
    { background: true, stream: true, stream_options: { include_obfuscation: false } },
    { metadata: Object.fromEntries(Array.from({ length: 16 }, (_, at) => [`k${at}`, 'v'])) },
    {
      truncation: 'disabled',
      service_tier: 'auto',
      prompt_cache_key: 'p',
      user: 'u',
      safety_identifier: 's',
    },
  ])('%j', (change) => {
    expect(refusal(change)).toBeUndefined()
  })
})

test('what clients add to items that they send back is not kept, of whatever shape it is', () => {
  const deep = JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`)
  const said = { type: 'output_text', text: 'a', parsed: deep }
  const call = { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}', parsed_arguments: deep }
  const { input } = parseRequest(ResponseRequest, {
    model: 'm',
    input: [{ role: 'assistant', content: [said] }, call],
  })
  expect(JSON.parse(JSON.stringify(input))).toEqual([
    { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'a' }] },
    { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
  ])
})

describe('what is refused, and by which name', () => {
  test.each([
    [{ input: undefined }, 'invalid_value', 'input'],
    [{ input: [] }, 'invalid_value', 'input'],
    [
      {
        input: [
          { role: 'user', content: 'a', id: 'msg_1' },
          { role: 'user', content: 'b', id: 'msg_1' },
        ],
      },
      'invalid_value',
      'input',
    ],
    [{ input: [{ type: 'item_reference', id: 'msg_1' }] }, 'invalid_value', 'input[0].type'],
    [
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] },
      'unsupported_parameter',
      'input[0].content[0]',
    ],
    [
      { input: [{ type: 'function_call', call_id: 'c', name: 'f', arguments: '{' }] },
      'invalid_value',
      'input[0].arguments',
    ],
    [
      { input: [{ type: 'reasoning', encrypted_content: 'x' }] },
      'unsupported_parameter',
      'input[0].encrypted_content',
    ],
    [
      { input: [{ role: 'assistant', content: [{ type: 'output_text', text: 'a', logprobs: [[]] }] }] },
      'invalid_value',
      'input[0].content[0].logprobs[0]',
    ],
    [{ tools: [{ type: 'web_search' }] }, 'invalid_value', 'tools[0].type'],
    [{ tools: [tool, tool] }, 'invalid_value', 'tools'],
    [{ tool_choice: 'required' }, 'invalid_value', 'tool_choice'],
    [{ tools: [tool], tool_choice: { type: 'function', name: 'g' } }, 'invalid_value', 'tool_choice'],
    [
      { tools: [tool], tool_choice: 'required', text: { format: { type: 'json_object' } } },
      'invalid_value',
      'text',
    ],
    [{ text: { verbosity: 'low' } }, 'unsupported_parameter', 'text.verbosity'],
    [{ reasoning: { effort: 'low' } }, 'unsupported_parameter', 'reasoning'],
    [{ truncation: 'auto' }, 'unsupported_parameter', 'truncation'],
    [{ service_tier: 'scale' }, 'unsupported_parameter', 'service_tier'],
    [{ conversation: 'conv_1' }, 'unsupported_parameter', 'conversation'],
    [
      { stream: true, stream_options: { include_obfuscation: true } },
      'unsupported_parameter',
      'stream_options.include_obfuscation',
    ],
    [{ stream_options: {} }, 'invalid_value', 'stream_options'],
    [{ include: ['reasoning.encrypted_content'] }, 'invalid_value', 'include[0]'],
    [{ top_logprobs: 2 }, 'invalid_value', 'top_logprobs'],
    [{ background: true, store: false }, 'invalid_value', 'background'],
    [
      { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`k${at}`, 'v'])) },
      'invalid_value',
      'metadata',
    ],
    [{ temprature: 1 }, 'unsupported_parameter', 'temprature'],
  ])('%j', (change, code, param) => {
    expect(refusal(change)).toEqual([code, param])
  })

  test.each([
    [{ starting_after: '3' }, 'invalid_value', 'starting_after'],
    [{ stream: 'true', starting_after: '-1' }, 'invalid_value', 'starting_after'],
    [{ stream: 'true', 'include[]': 'message.output_text.logprobs' }, 'invalid_value', 'include'],
    [{ include_obfuscation: 'true' }, 'unsupported_parameter', 'include_obfuscation'],
    [{ colour: 'red' }, 'unsupported_parameter', 'colour'],
  ])('in a query: %j', (change, code, param) => {
    expect(refusal(change, ResponseQuery)).toEqual([code, param])
  })
})
