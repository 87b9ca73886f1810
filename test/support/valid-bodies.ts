export type JsonValue = string | number | boolean | null | JsonValue[] | JsonObject
export type JsonObject = { [key: string]: JsonValue }

/** Makes a new one each time, so that it may be changed. */
export type Body = () => JsonObject

const tools = (): JsonValue => [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'The weather of a place.',
      strict: true,
      parameters: {
        type: 'object',
        properties: { city: { type: 'string', maxLength: 8 }, days: { type: 'integer', minimum: 1 } },
        required: ['city'],
        additionalProperties: false,
      },
    },
  },
  { type: 'function', function: { name: 'stop' } },
]

const schema = (): JsonValue => ({
  type: 'object',
  properties: {
    colour: { enum: ['red', 'green'] },
    code: { type: 'string', pattern: '^[a-z]{2,4}$' },
    list: { type: 'array', items: { $ref: '#/$defs/item' }, minItems: 1, maxItems: 3 },
  },
  required: ['colour'],
  $defs: { item: { type: 'integer', minimum: 0, maximum: 9 } },
})

const chat = (change: JsonObject): JsonObject => ({
  model: 'tiny',
  messages: [{ role: 'user', content: 'Hello' }],
  max_tokens: 2,
  ...change,
})

const CHAT: readonly Body[] = [
  () => chat({}),
  () =>
    chat({
      n: 2,
      seed: -7,
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.05,
      presence_penalty: -2,
      frequency_penalty: 2,
      logit_bias: { '20': -100, '30': 5 },
      stop: ['a', 'b'],
      logprobs: true,
      top_logprobs: 2,
      user: 'u',
      store: false,
      service_tier: 'auto',
      modalities: ['text'],
    }),
  () =>
    chat({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'developer', content: [{ type: 'text', text: 'Be kind.' }] },
        { role: 'user', content: [{ type: 'text', text: 'Hi' }], name: 'ann' },
        {
          role: 'assistant',
          content: null,
          refusal: null,
          tool_calls: [
            { id: 'c', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome"}' } },
          ],
        },
        { role: 'tool', content: 'sunny', tool_call_id: 'c' },
      ],
      tools: tools(),
      tool_choice: 'auto',
      parallel_tool_calls: false,
    }),
  () => chat({ stream: true, stream_options: { include_usage: true }, stop: 'x', seed: 3 }),
  () => chat({ tools: tools(), tool_choice: 'required', parallel_tool_calls: true, max_tokens: 8 }),
  () =>
    chat({
      tools: tools(),
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      stream: true,
      max_tokens: 8,
    }),
  () =>
    chat({
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'thing', description: 'A thing.', strict: true, schema: schema() },
      },
      max_tokens: 8,
    }),
  () => chat({ response_format: { type: 'json_object' }, max_tokens: 4 }),
]

const response = (change: JsonObject): JsonObject => ({
  model: 'tiny',
  input: 'Hello',
  max_output_tokens: 2,
  ...change,
})

const functions = (): JsonValue =>
  (tools() as { function: JsonObject }[]).map(({ function: one }) => ({ type: 'function', ...one }))

const RESPONSE: readonly Body[] = [
  () => response({}),
  () =>
    response({
      instructions: 'Be brief.',
      temperature: 0.5,
      top_p: 0.9,
      include: ['message.output_text.logprobs'],
      top_logprobs: 2,
      metadata: { a: 'b' },
      truncation: 'disabled',
      service_tier: 'auto',
      user: 'u',
      safety_identifier: 's',
      prompt_cache_key: 'k',
      store: false,
    }),
  () =>
    response({
      input: [
        { role: 'developer', content: [{ type: 'input_text', text: 'Be kind.' }] },
        { type: 'message', role: 'user', content: 'Hi' },
        { type: 'reasoning', id: 'rs', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
        {
          type: 'message',
          id: 'msg',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: 'Wait.', annotations: [], logprobs: [] }],
        },
        { type: 'function_call', call_id: 'c', name: 'get_weather', arguments: '{"city":"Rome"}' },
        { type: 'function_call_output', call_id: 'c', output: 'sunny' },
      ],
      tools: functions(),
      tool_choice: 'auto',
      parallel_tool_calls: false,
    }),
  () => response({ stream: true, stream_options: { include_obfuscation: false } }),
  () => response({ background: true, store: true }),
  () => response({ background: true, stream: true }),
  () =>
    response({
      tools: functions(),
      tool_choice: 'required',
      parallel_tool_calls: true,
      max_output_tokens: 8,
    }),
  () =>
    response({
      tools: functions(),
      tool_choice: { type: 'function', name: 'get_weather' },
      stream: true,
      max_output_tokens: 8,
    }),
  () =>
    response({
      text: {
        format: {
          type: 'json_schema',
          name: 'thing',
          description: 'A thing.',
          strict: true,
          schema: schema(),
        },
      },
      max_output_tokens: 8,
    }),
  () => response({ text: { format: { type: 'json_object' } }, max_output_tokens: 4 }),
]

const completion = (change: JsonObject): JsonObject => ({
  model: 'tiny',
  prompt: 'a',
  max_tokens: 2,
  ...change,
})

const COMPLETION: readonly Body[] = [
  () => completion({}),
  () => completion({ prompt: ['a', 'b'], logprobs: 2, n: 2, seed: 1, stop: ['x'], temperature: 0 }),
  () => completion({ prompt: [10, 11, 12], stream: true, stream_options: { include_usage: true } }),
  () =>
    completion({ prompt: [[10], [11, 12]], logit_bias: { '20': 5 }, top_p: 0.5, echo: false, best_of: 1 }),
  () =>
    completion({ presence_penalty: 1, frequency_penalty: -1, top_k: 0, min_p: 0, user: 'u', suffix: null }),
]

const EMBEDDING: readonly Body[] = [
  () => ({ model: 'tiny', input: 'one' }),
  () => ({ model: 'tiny', input: ['one', 'two'], encoding_format: 'base64', user: 'u' }),
  () => ({ model: 'tiny', input: [10, 11], encoding_format: 'float', dimensions: null }),
  () => ({ model: 'tiny', input: [[10], [11, 12]] }),
]

const TOKENIZE: readonly Body[] = [
  () => ({ model: 'tiny', prompt: 'Hello there' }),
  () => ({ model: 'tiny', prompt: '<|im_start|>ä€😀', add_special_tokens: false, return_token_strs: true }),
]

/** Bodies that the route takes; together they use all that it knows. */
export function validBodies(route: string): readonly Body[] {
  if (route === '/v1/chat/completions') return CHAT
  if (route === '/v1/responses') return RESPONSE
  if (route === '/v1/completions') return COMPLETION
  return route === '/v1/embeddings' ? EMBEDDING : TOKENIZE
}
