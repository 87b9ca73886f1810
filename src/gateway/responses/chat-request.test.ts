import { expect, test } from 'vitest'
import { ChatRequest } from '../../contracts/openai/chat.ts'
import { parseRequest } from '../../contracts/openai/parse.ts'
import { ResponseRequest } from '../../contracts/openai/responses.ts'
import { toChatRequest } from './chat-request.ts'
import { inputItems, outputItemId } from './response-object.ts'

const ID = `resp_${'0'.repeat(32)}`

function chatOf(body: object): ChatRequest {
  const request = parseRequest(ResponseRequest, { model: 'm', ...body })
  const chat = toChatRequest(request, inputItems(request.input, ID))
  // What comes out is a request that the chat interface would take.
  expect(() => parseRequest(ChatRequest, JSON.parse(JSON.stringify(chat)))).not.toThrow()
  return JSON.parse(JSON.stringify(chat)) as ChatRequest
}

test('a text is what the user says, after the instructions', () => {
  expect(chatOf({ input: 'Hi', instructions: 'Be brief.', max_output_tokens: 9 })).toEqual({
    model: 'm',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hi' },
    ],
    max_completion_tokens: 9,
    stream: true,
    stream_options: { include_usage: true },
  })
})

test('what the assistant thought, said and called is one turn; answers of tools follow it', () => {
  const { messages } = chatOf({
    input: [
      {
        role: 'user',
        content: [
          { type: 'input_text', text: 'a' },
          { type: 'input_text', text: 'b' },
        ],
      },
      { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
      { role: 'assistant', content: [{ type: 'output_text', text: 'wait' }] },
      { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{"x":1}' },
      { type: 'function_call', call_id: 'c2', name: 'g', arguments: '{}' },
      { type: 'function_call_output', call_id: 'c1', output: 'one' },
      { type: 'function_call_output', call_id: 'c2', output: [{ type: 'input_text', text: 'two' }] },
      { role: 'assistant', content: 'done' },
      { role: 'assistant', content: 'really' },
    ],
  })
  expect(messages).toEqual([
    {
      role: 'user',
      content: [
        { type: 'text', text: 'a' },
        { type: 'text', text: 'b' },
      ],
    },
    {
      role: 'assistant',
      content: 'wait',
      reasoning_content: 'hm',
      tool_calls: [
        { id: 'c1', type: 'function', function: { name: 'f', arguments: '{"x":1}' } },
        { id: 'c2', type: 'function', function: { name: 'g', arguments: '{}' } },
      ],
    },
    { role: 'tool', tool_call_id: 'c1', content: 'one' },
    { role: 'tool', tool_call_id: 'c2', content: 'two' },
    { role: 'assistant', content: 'done' },
    { role: 'assistant', content: 'really' },
  ])
})

test('tools, formats and log probabilities have the form of the chat interface', () => {
  const parameters = { type: 'object', properties: {} }
  const tools = [
    { type: 'function', name: 'f', description: 'd', parameters, strict: true },
    { type: 'function', name: 'g' },
  ]
  expect(
    chatOf({ input: 'x', tools, tool_choice: { type: 'function', name: 'f' }, parallel_tool_calls: true }),
  ).toMatchObject({
    tools: [
      { type: 'function', function: { name: 'f', description: 'd', parameters, strict: true } },
      { type: 'function', function: { name: 'g' } },
    ],
    tool_choice: { type: 'function', function: { name: 'f' } },
    parallel_tool_calls: true,
  })
  const schema = { type: 'object', properties: {} }
  const format = { type: 'json_schema', name: 's', schema, strict: true }
  expect(
    chatOf({ input: 'x', text: { format }, include: ['message.output_text.logprobs'], top_logprobs: 3 }),
  ).toMatchObject({
    response_format: { type: 'json_schema', json_schema: { name: 's', schema, strict: true } },
    logprobs: true,
    top_logprobs: 3,
  })
})

test('a call that was cut off in an earlier response is refused, for an engine could not read it', () => {
  const request = parseRequest(ResponseRequest, { model: 'm', input: 'x' })
  const cut = {
    type: 'function_call' as const,
    id: outputItemId('fc', ID, 0),
    call_id: 'c',
    name: 'f',
    arguments: '{"x":',
  }
  expect(() => toChatRequest(request, [cut])).toThrow(
    expect.objectContaining({ code: 'invalid_value', param: 'previous_response_id' }),
  )
})

test('every item that was asked gets an id, and keeps the one that it has', () => {
  const request = parseRequest(ResponseRequest, {
    model: 'm',
    input: [
      { role: 'user', content: 'a', id: 'mine' },
      { role: 'assistant', content: 'b' },
      { type: 'function_call_output', call_id: 'c', output: 'd' },
    ],
  })
  const items = inputItems(request.input, ID)
  expect(items[0]).toMatchObject({ id: 'mine', content: [{ type: 'input_text', text: 'a' }] })
  expect(items[1]).toMatchObject({ content: [{ type: 'output_text', text: 'b', annotations: [] }] })
  expect(new Set(items.map(({ id }) => id)).size).toBe(3)
  expect(inputItems(request.input, ID)).toEqual(items)
})
