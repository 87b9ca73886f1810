import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { sendStream, wholeStream } from '../../support/scripted-upstream.ts'
import { SocketClient, textOf } from '../../support/socket-client.ts'

let bench: GatewayBench

beforeAll(async () => {
  bench = await GatewayBench.start()
})
afterAll(() => bench?.stop())

test('a chat over a socket is the stream that the engine made, whole and numbered without gaps', async () => {
  bench.upstream.play((call) => void sendStream(call, wholeStream(50)))
  const client = await SocketClient.open(bench.server.origin, { apiKey: bench.server.apiKey })
  const welcome = await client.hello()
  expect(welcome.limits.message_bytes).toBe(2 ** 20)
  const { stream } = await client.chat()
  const events = await client.wholeStream(stream)
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, at) => at + 1))
  const end = events.at(-1)
  expect(end).toMatchObject({ type: 'stream.end', last_seq: events.length, usage: { completion_tokens: 50 } })
  const sha256 = createHash('sha256').update(textOf(events)).digest('hex')
  expect(end).toMatchObject({ sha256 })
  expect((await client.close()).code).toBe(1000)
})
