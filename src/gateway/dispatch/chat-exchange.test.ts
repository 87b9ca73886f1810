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

describe('the length of an answer whose request says none', () => {
  const ask = (engine: Replica['engine'], outputTokensMax: number | undefined, content = 'Hello') =>
    chatExchange({ model: 'm', messages: [{ role: 'user', content }] }).body(
      { ...replica, engine },
      { stream: false, outputTokensMax },
    )['max_tokens']

  test.each(['llama-server', 'upstream'] as const)('is what was reserved for it, in %s', (engine) => {
    expect(ask(engine, 1_024)).toBe(1_024)
    expect(ask(engine, 100)).toBe(100)
  })

  test.each(['vllm', 'sglang'] as const)(
    'leaves room for the prompt in %s, which would refuse it',
    (engine) => {
      expect(ask(engine, 100)).toBe(100)
      const beside = Number(ask(engine, 1_000, 'x'.repeat(1_200)))
      expect(beside).toBeGreaterThan(500)
      expect(beside).toBeLessThan(1_024 - 300)
      expect(ask(engine, 1_000, 'x'.repeat(4_000))).toBe(256)
    },
  )

  test.each(['vllm', 'sglang'] as const)('is left to %s where the whole context was reserved', (engine) => {
    expect(ask(engine, 1_024)).toBeUndefined()
    expect(ask(engine, undefined)).toBeUndefined()
  })
})
