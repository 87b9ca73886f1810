import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Server, startServer } from '../support/server.ts'
import { smollm2 } from '../support/smollm2.ts'

const model = 'smollm2-135m-instruct'
let server: Server
let client: OpenAI

beforeAll(async () => {
  server = await startServer({ models: { [model]: await smollm2() }, config: { engines: { threads: 2 } } })
  client = new OpenAI({ baseURL: server.url, apiKey: server.apiKey, maxRetries: 0 })
})
afterAll(async () => {
  expect(await server.stop()).toBe(0)
})

const question = (content: string) => [{ role: 'user' as const, content }]

test('knows the capital of France', async () => {
  const answer = await client.chat.completions.create({
    model,
    messages: question('What is the capital of France?'),
    temperature: 0,
    max_tokens: 20,
  })
  expect(answer.choices[0]?.message.content).toContain('Paris')
  expect(answer.choices[0]?.finish_reason).toBe('stop')
})

test('remembers what was said before in the conversation', async () => {
  const answer = await client.chat.completions.create({
    model,
    temperature: 0,
    max_tokens: 20,
    messages: [
      ...question('My name is Alice.'),
      { role: 'assistant', content: 'Hello Alice! How can I help you today?' },
      ...question('What is my name?'),
    ],
  })
  expect(answer.choices[0]?.message.content).toContain('Alice')
})

test('calls the tool with the city of the question when it must call one', async () => {
  const answer = await client.chat.completions.create({
    model,
    messages: question('What is the weather in Paris?'),
    temperature: 0,
    max_tokens: 60,
    tool_choice: 'required',
    tools: [
      {
        type: 'function',
        function: {
          name: 'get_weather',
          description: 'Get the weather of a city',
          parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
        },
      },
    ],
  })
  const [call] = answer.choices[0]?.message.tool_calls ?? []
  expect(call?.type === 'function' && JSON.parse(call.function.arguments)).toEqual({ city: 'Paris' })
})

test('puts related texts closer together than unrelated ones', async () => {
  const { data } = await client.embeddings.create({
    model,
    input: ['a cat', 'a kitten', 'the stock market crashed'],
  })
  const [cat = [], kitten = [], market = []] = data.map(({ embedding }) => embedding)
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0)
  expect(dot(cat, kitten)).toBeGreaterThan(dot(cat, market))
})
