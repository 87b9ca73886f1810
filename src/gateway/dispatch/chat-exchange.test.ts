import { describe, expect, test } from 'vitest'
import type { Replica } from '../../contracts/pool.ts'
import { chatExchange } from './chat-exchange.ts'

const replica: Replica = {
  id: 'replica-1',
  model: 'm',
  engineModel: 'm',
  engine: 'vllm',
  address: { url: 'http://localhost', socketPath: '/run/engine.sock', apiKey: 'key' },
  slots: 2,
  contextLength: 1_024,
  supportsTools: true,
  continues: true,
  vocabularySize: 1_000,
  revision: 'r1',
}
const tools = [{ type: 'function' as const, function: { name: 'get_time', parameters: { type: 'object' } } }]
const exchange = chatExchange({
  model: 'm',
  messages: [{ role: 'user', content: 'Time?' }],
  tools,
  tool_choice: 'required',
})

describe('tools that must be called', () => {
  test.each(['vllm', 'sglang', 'upstream'] as const)('are left to %s, which knows how', (engine) => {
    const asked = { ...replica, engine }
    expect(exchange.body(asked, { stream: false })).toMatchObject({ tools, tool_choice: 'required' })
    expect(exchange.body(asked, { stream: false })).not.toHaveProperty('response_format')
    expect(exchange.rewrite?.(asked)).toBeUndefined()
  })

  test('are forced by a schema in llama-server, and its answer is mended', () => {
    const asked = { ...replica, engine: 'llama-server' } as const
    expect(exchange.body(asked, { stream: false })).toMatchObject({
      tool_choice: 'none',
      response_format: { type: 'json_schema' },
    })
    expect(exchange.rewrite?.(asked)).toBeDefined()
  })

  test.each([
    ['llama-server', 'chatTemplate'],
    ['vllm', '--tool-call-parser'],
    ['sglang', '--tool-call-parser'],
  ] as const)('are refused where %s cannot, with what would help: %s', (engine, remedy) => {
    const asked = { ...replica, engine, supportsTools: false }
    expect(() => exchange.body(asked, { stream: false })).toThrow(
      expect.objectContaining({
        code: 'unsupported_parameter',
        publicMessage: expect.stringContaining(remedy),
      }),
    )
  })
})
