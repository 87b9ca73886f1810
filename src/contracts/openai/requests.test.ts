import { describe, expect, test } from 'vitest'
import { HelixError } from '../../core/errors.ts'
import { ChatRequest } from './chat.ts'
import { CompletionRequest, promptCount } from './completions.ts'
import { EmbeddingRequest } from './embeddings.ts'
import { schemaProblem } from './json-schema.ts'
import { parseJson, parseRequest } from './parse.ts'

const messages = [{ role: 'user', content: 'Hi' }]
const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object' } } }

function refusal(act: () => unknown): { code: string; param: string | undefined; message: string } {
  try {
    act()
  } catch (error) {
    expect(error).toBeInstanceOf(HelixError)
    const { code, param, publicMessage } = error as HelixError
    return { code, param, message: publicMessage }
  }
  return expect.unreachable('the request was accepted')
}

const chat = (change: object) => refusal(() => parseRequest(ChatRequest, { model: 'm', messages, ...change }))

describe('a chat request', () => {
  test('with everything that is supported is taken as it is', () => {
    const request = {
      model: 'm',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'developer', content: [{ type: 'text', text: 'Be kind.' }] },
        { role: 'user', content: [{ type: 'text', text: 'Hi' }], name: 'ann' },
        {
          role: 'assistant',
          content: null,
          refusal: null,
          tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }],
        },
        { role: 'tool', content: '3', tool_call_id: 'c' },
      ],
      n: 2,
      seed: -7,
      temperature: 0,
      top_p: 1,
      top_k: 40,
      min_p: 0.05,
      presence_penalty: -2,
      frequency_penalty: 2,
      logit_bias: { '198': -100 },
      stop: ['a', 'b'],
      max_completion_tokens: 5,
      logprobs: true,
      top_logprobs: 20,
      response_format: {
        type: 'json_schema',
        json_schema: { name: 's', strict: true, schema: { type: 'object' } },
      },
      tools: [tool],
      tool_choice: 'auto',
      parallel_tool_calls: false,
      stream: true,
      stream_options: { include_usage: true },
      user: 'u',
      store: false,
      service_tier: 'auto',
    }
    expect(parseRequest(ChatRequest, request)).toEqual(request)
  })

  test.each([
    'audio',
    'functions',
    'function_call',
    'metadata',
    'prediction',
    'reasoning_effort',
    'web_search_options',
    'prompt_cache_key',
    'api_base',
    'extra_headers',
    'n_discard',
  ])('with %s is refused by that name', (param) => {
    expect(chat({ [param]: 1 })).toMatchObject({ code: 'unsupported_parameter', param })
  })

  test('with __proto__ is refused by that name and changes no prototype', () => {
    const value = JSON.parse(
      '{"model":"m","messages":[{"role":"user","content":"Hi"}],"__proto__":{"polluted":1}}',
    )
    expect(refusal(() => parseRequest(ChatRequest, value))).toMatchObject({ param: '__proto__' })
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  test.each([
    [{ messages: [] }, 'messages'],
    [{ messages: [{ role: 'user' }] }, 'messages[0].content'],
    [{ messages: [{ role: 'king', content: 'x' }] }, 'messages[0].role'],
    [{ messages: [{ role: 'user', content: [{ type: 'text', text: 7 }] }] }, 'messages[0].content[0].text'],
    [{ messages: [{ role: 'user', content: '\ud800' }] }, 'messages[0].content'],
    [{ model: '' }, 'model'],
    [{ n: 0 }, 'n'],
    [{ n: 1.5 }, 'n'],
    [{ temperature: 2.1 }, 'temperature'],
    [{ temperature: '1' }, 'temperature'],
    [{ top_p: 0 }, 'top_p'],
    [{ seed: 2 ** 60 }, 'seed'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ max_tokens: 2 ** 31 }, 'max_tokens'],
    [{ max_tokens: 1e308 }, 'max_tokens'],
    [{ max_tokens: 5, max_completion_tokens: 5 }, 'max_tokens'],
    [{ top_logprobs: 2 }, 'top_logprobs'],
    [{ logit_bias: { x: 1 } }, 'logit_bias.x'],
    [{ logit_bias: { '1': 101 } }, 'logit_bias.1'],
    [{ stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'],
    [{ stop: '' }, 'stop'],
    [{ stream_options: {} }, 'stream_options'],
    [{ tools: [tool, tool] }, 'tools'],
    [{ tool_choice: 'required' }, 'tool_choice'],
    [{ tools: [tool], tool_choice: { type: 'function', function: { name: 'g' } } }, 'tool_choice'],
    [{ tools: [tool], tool_choice: 'required', response_format: { type: 'json_object' } }, 'response_format'],
    [{ response_format: { type: 'xml' } }, 'response_format.type'],
  ])('with %j is refused at %s', (change, param) => {
    expect(chat(change)).toMatchObject({ code: 'invalid_value', param })
  })

  test('with an image is refused by name as long as no model sees', () => {
    const content = [{ type: 'image_url', image_url: { url: 'data:,' } }]
    expect(chat({ messages: [{ role: 'user', content }] })).toMatchObject({ code: 'unsupported_parameter' })
  })

  test('with store is refused, and told what is supported', () => {
    expect(chat({ store: true })).toMatchObject({ code: 'unsupported_parameter', param: 'store' })
    expect(chat({ store: true }).message).toContain('only false or null')
  })
})

describe('a JSON schema', () => {
  const schema = (schema: object) =>
    chat({ response_format: { type: 'json_schema', json_schema: { name: 's', schema } } })
  const wide = (count: number, name: string, one: object) => {
    const names = Array.from({ length: count }, (_, at) => `${name}${at}`)
    return { properties: Object.fromEntries(names.map((each) => [each, one])), required: names }
  }
  const deep = (levels: number): object => (levels === 0 ? {} : { properties: { a: deep(levels - 1) } })

  test.each([
    ['too deep', deep(40), 'deeper'],
    ['too wide', { enum: Array.from({ length: 6_000 }, (_, i) => i) }, 'more than'],
    ['many repeats', { type: 'array', maxItems: 1e9 }, 'maxItems'],
    ['negative repeats', { type: 'string', minLength: -1 }, 'minLength'],
    ['nested counted patterns', { type: 'string', pattern: '^((a{100}){100})$' }, 'multiply'],
    ['nested repeats in a pattern', { type: 'string', pattern: '^(a+)+$' }, 'holds a repeat'],
    ['upside down', { type: 'string', minLength: 5, maxLength: 1 }, 'larger than'],
    [
      'of very many optional properties',
      { properties: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`p${i}`, {}])) },
      'not required',
    ],
    ['a long pattern', { type: 'string', pattern: 'a'.repeat(300) }, 'longer'],
    ['a reference to elsewhere', { $ref: 'https://example.com/s.json' }, '$ref'],
    ['an endless reference', { $ref: '#' }, 'nothing in between'],
    ['an endless union', { $ref: '#/$defs/a', $defs: { a: { anyOf: [{ $ref: '#/$defs/a' }] } } }, 'between'],
    ['an endless circle', { allOf: [{ $ref: '#/x~1y/0' }], 'x/y': [{ $ref: '#' }] }, 'nothing in between'],
    ['of a very long name', { properties: { ['a'.repeat(257)]: {} } }, 'a name in the schema'],
    ['of many long names', wide(200, 'a'.repeat(200), {}), 'names in the schema'],
    ['of many long texts', wide(60, 'p', { type: 'string', maxLength: 2_000 }), 'add up'],
    ['of many patterns', wide(60, 'p', { type: 'string', pattern: '^a{2000}$' }), 'add up'],
    ['of many choices', { enum: Array.from({ length: 1_001 }, (_, i) => i) }, 'to choose from'],
    ['a pattern of many repeats', { type: 'string', pattern: `^${'.?'.repeat(33)}$` }, 'more than 32'],
    ['a lone surrogate', { const: '\udc00' }, 'Unicode'],
  ])('that is %s is refused', (_name, given, words) => {
    const { code, message } = schema(given)
    expect(code).toBe('invalid_value')
    expect(message).toContain(words)
  })

  test('may refer to itself below a property or in a list, as trees do', () => {
    const tree = {
      $ref: '#/$defs/tree',
      $defs: {
        tree: {
          type: 'object',
          properties: { children: { type: 'array', items: { $ref: '#/$defs/tree' } } },
          anyOf: [{ $ref: '#/$defs/leaf' }, { $ref: '#/$defs/leaf' }],
        },
        leaf: { type: 'string' },
      },
    }
    expect(schemaProblem(tree)).toBeUndefined()
  })
})

describe('a completion request', () => {
  test.each([
    ['Hi', 1],
    [['Hi', 'Yo'], 2],
    [[1, 2, 3], 1],
    [[[1], [2]], 2],
  ])('with prompt %j is %i prompts', (prompt, count) => {
    expect(promptCount(parseRequest(CompletionRequest, { model: 'm', prompt }))).toBe(count)
  })

  test.each(['echo', 'suffix', 'best_of'])('with %s is refused by name', (param) => {
    const value = {
      model: 'm',
      prompt: 'x',
      [param]: param === 'best_of' ? 3 : param === 'echo' ? true : 'y',
    }
    expect(refusal(() => parseRequest(CompletionRequest, value))).toMatchObject({
      code: 'unsupported_parameter',
      param,
    })
  })
})

describe('an embedding request', () => {
  test.each([[''], [[]], [['']], [[[]]], [[-1]], [[1.5]], [null]])('with input %j is refused', (input) => {
    expect(refusal(() => parseRequest(EmbeddingRequest, { model: 'm', input })).code).toBe('invalid_value')
  })
})

describe('a body', () => {
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['half a JSON', Buffer.from('{"model":')],
    ['NaN', Buffer.from('{"temperature":NaN}')],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['half a character', Buffer.from([0x22, 0xe2, 0x98, 0x22])],
  ])('of %s is invalid_json', (_name, body) => {
    expect(refusal(() => parseJson(body)).code).toBe('invalid_json')
  })

  test('nested ten thousand deep is refused without harm', () => {
    const body = Buffer.from(`${'['.repeat(10_000)}${']'.repeat(10_000)}`)
    expect(refusal(() => parseRequest(ChatRequest, parseJson(body))).code).toBe('invalid_value')
  })
})
