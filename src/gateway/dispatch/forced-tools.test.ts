import { describe, expect, test } from 'vitest'
import { chatCollector } from './collector.ts'
import { ForcedToolCalls, forcedToolsSchema } from './forced-tools.ts'

const tool = (name: string, parameters: Record<string, unknown>) => ({
  type: 'function' as const,
  function: { name, parameters },
})
const whole = (content: string, finish_reason: string) => ({
  choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason }],
})

describe('the schema', () => {
  test('moves references with the parameters they are in', () => {
    const parameters = {
      type: 'object',
      properties: { a: { $ref: '#/$defs/x' } },
      $defs: { x: { type: 'string' } },
    }
    expect(forcedToolsSchema([tool('f', parameters)], false)).toMatchObject({
      properties: { name: { const: 'f' }, arguments: { $ref: '#/$defs/tool0' } },
      $defs: { tool0: { properties: { a: { $ref: '#/$defs/tool0/$defs/x' } } } },
    })
  })

  test('lets one of several tools be called, or a list of calls', () => {
    const tools = [tool('f', {}), tool('g', {})]
    expect(forcedToolsSchema(tools, false)).toHaveProperty('anyOf.length', 2)
    expect(forcedToolsSchema(tools, true)).toMatchObject({ type: 'array', minItems: 1 })
  })
})

describe('the calls', () => {
  const text = '{ "name": "f",\n "arguments": { "city": "Paris" } }'

  test('of a whole answer', () => {
    const [choice] = new ForcedToolCalls().whole(whole(text, 'stop'))['choices'] as unknown[]
    expect(choice).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: null,
        tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{"city":"Paris"}' } }],
      },
    })
  })

  test('of an answer that the token limit cut are given as far as they go', () => {
    const [choice] = new ForcedToolCalls().whole(whole(text.slice(0, 42), 'length'))['choices'] as unknown[]
    expect(choice).toMatchObject({
      finish_reason: 'length',
      message: { tool_calls: [{ function: { name: 'f', arguments: '{ "city": "Pa' } }] },
    })
  })

  test('of a stream are the same as of the whole answer', () => {
    const calls = new ForcedToolCalls()
    const collector = chatCollector()
    const head = { id: 'x', created: 1, model: 'm' }
    const chunks = [
      { ...head, choices: [{ index: 0, delta: { role: 'assistant', content: null }, finish_reason: null }] },
      ...text
        .split('')
        .map((content) => ({ ...head, choices: [{ index: 0, delta: { content }, finish_reason: null }] })),
      { ...head, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
    ]
    const sent = chunks.flatMap((chunk) => calls.chunk(chunk))
    for (const chunk of sent) collector.add(chunk)
    expect(sent).toHaveLength(2)
    expect(collector.answer()['choices']).toMatchObject([
      {
        finish_reason: 'tool_calls',
        message: { content: null, tool_calls: [{ function: { name: 'f', arguments: '{"city":"Paris"}' } }] },
      },
    ])
  })
})

test('a stream of several choices is put together, each with its own parts', () => {
  const collector = chatCollector()
  const part = (index: number, delta: object, finish_reason: string | null = null) =>
    collector.add({ id: 'x', created: 1, model: 'm', choices: [{ index, delta, finish_reason }] })
  part(1, { content: 'b1' })
  part(0, { content: 'a1' })
  part(0, { content: 'a2', reasoning_content: 'hm' })
  part(1, { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{"x"' } }] })
  part(1, { tool_calls: [{ index: 0, function: { arguments: ':1}' } }] }, 'tool_calls')
  part(0, {}, 'stop')
  expect(collector.answer()).toMatchObject({
    object: 'chat.completion',
    choices: [
      { index: 0, message: { content: 'a1a2', reasoning_content: 'hm' }, finish_reason: 'stop' },
      {
        index: 1,
        message: { content: 'b1', tool_calls: [{ id: 'c', function: { name: 'f', arguments: '{"x":1}' } }] },
      },
    ],
  })
})
