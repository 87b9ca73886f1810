import { expect, test } from 'vitest'
import { ChatRequest } from '../../contracts/openai/chat.ts'
import { chatExchange } from './chat-exchange.ts'
import { promptBlocks } from './prompt-blocks.ts'

const text = (words: number, word = 'word') => `${word} `.repeat(words)

function chatBlocks(change: object, tenant = 'proj_a'): readonly string[] {
  const exchange = chatExchange(ChatRequest.parse({ model: 'm', ...change }))
  return promptBlocks(tenant, exchange.prompt?.() ?? '')
}

const first = { role: 'user', content: text(400) }
const answer = { role: 'assistant', content: text(300, 'said') }
const second = { role: 'user', content: text(400, 'more') }

test('a conversation that goes on begins with the names that it had', () => {
  const before = chatBlocks({ messages: [first] })
  const after = chatBlocks({ messages: [first, answer, second] })
  expect(before.length).toBeGreaterThan(2)
  expect(after.length).toBeGreaterThan(before.length)
  expect(after.slice(0, before.length)).toEqual(before)
})

test('a name tells of all that comes before it', () => {
  const one = chatBlocks({ messages: [first, second] })
  const other = chatBlocks({ messages: [{ ...first, content: `x${first.content}` }, second] })
  expect(one.filter((name) => other.includes(name))).toEqual([])
  expect(new Set(one).size).toBe(one.length)
})

test('tools are a part of the beginning', () => {
  const tools = [
    { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } },
  ]
  const plain = chatBlocks({ messages: [first] })
  const armed = chatBlocks({ messages: [first], tools })
  expect(armed.filter((name) => plain.includes(name))).toEqual([])
})

test('tenants have no name in common', () => {
  const one = chatBlocks({ messages: [first] }, 'proj_a')
  const other = chatBlocks({ messages: [first] }, 'proj_b')
  expect(other.filter((name) => one.includes(name))).toEqual([])
})

test('a short prompt has none, and a very long one no more than are of use', () => {
  expect(promptBlocks('proj_a', 'hi')).toEqual([])
  expect(promptBlocks('proj_a', 'x'.repeat(2 ** 20))).toHaveLength(1_024)
})
