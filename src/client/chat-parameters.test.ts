import { expect, test } from 'vitest'
import { ChatRequest } from '../contracts/openai/chat.ts'
import type { ChatParameters } from './chat-parameters.ts'

/** Set by the client, or good for nothing but their default. */
const LEFT = ['stream', 'stream_options', 'modalities', 'service_tier', 'store']

/** Every field, which the compiler asks for; each as the server takes it. */
const everything: Required<ChatParameters> = {
  model: 'm',
  messages: [
    { role: 'system', content: 'a', name: 'n' },
    { role: 'developer', content: [{ type: 'text', text: 'a' }] },
    { role: 'user', content: 'a' },
    {
      role: 'assistant',
      content: null,
      tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }],
    },
    { role: 'tool', content: 'a', tool_call_id: 'c' },
  ],
  n: 1,
  seed: 1,
  temperature: 1,
  top_p: 1,
  top_k: 1,
  min_p: 0,
  presence_penalty: 0,
  frequency_penalty: 0,
  logit_bias: { 1: 1 },
  stop: ['a'],
  max_tokens: null,
  max_completion_tokens: 1,
  logprobs: true,
  top_logprobs: 1,
  response_format: { type: 'text' },
  tools: [{ type: 'function', function: { name: 'f', description: 'd', parameters: {}, strict: true } }],
  tool_choice: 'auto',
  parallel_tool_calls: true,
  user: 'u',
}

test('what a chat can be asked for is what the server takes, no parameter more or less', () => {
  expect(Object.keys(everything).sort()).toEqual(
    Object.keys(ChatRequest.shape)
      .filter((name) => !LEFT.includes(name))
      .sort(),
  )
  expect(ChatRequest.safeParse(everything).error?.issues).toBeUndefined()
})
