import { expect, test } from 'vitest'
import { readMessage } from './read-message.ts'

const delta = { type: 'stream.delta', stream: 'str_1', epoch: 'e', seq: 3, text: 'a' }

test('a message with what this client relies on is read as it is', () => {
  expect(readMessage(JSON.stringify(delta))).toEqual(delta)
  expect(readMessage('{"type":"pong"}')).toEqual({ type: 'pong' })
})

test('a kind of message that comes from a newer server is skipped', () => {
  expect(readMessage('{"type":"news","of":"later"}')).toBeUndefined()
  expect(readMessage('{"type":"constructor"}')).toBeUndefined()
})

test.each([
  'no JSON',
  '[]',
  'null',
  '{}',
  '{"type":1}',
  ...Object.keys(delta)
    .filter((field) => field !== 'type')
    .map((field) => JSON.stringify({ ...delta, [field]: undefined })),
  JSON.stringify({ ...delta, seq: 1.5 }),
  JSON.stringify({ ...delta, seq: -1 }),
  JSON.stringify({ type: 'welcome', heartbeat_ms: 1, limits: {}, resume: [1], topics: [] }),
])('%s is nothing that this protocol says', (text) => expect(() => readMessage(text)).toThrow())
