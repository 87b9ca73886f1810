import { createInterface } from 'node:readline/promises'
import { PassThrough } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { converse } from '../../../src/cli/conversation.ts'
import { HelixFlowClient } from '../../../src/client/client.ts'
import { ScriptedGateway } from '../../support/scripted-gateway.ts'

const CTRL_C = '\u0003'

const opened: { stop(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.stop()
})

/** A conversation in a terminal that hands over each key; the server stops in the middle of its second answer. */
async function start() {
  let answers = 0
  const gateway = await ScriptedGateway.start({
    pieces: () => (++answers === 1 ? ['Hello'] : ['And ', 'then ', 'never']),
    change: (message) => (answers === 2 && message.type === 'stream.end' ? { type: 'pong', n: 0 } : message),
  })
  const client = new HelixFlowClient({ url: gateway.url, apiKey: 'a key', WebSocket })
  opened.push(gateway, { stop: () => client.close() })
  const keys = new PassThrough()
  const terminal = createInterface({ input: keys, output: new PassThrough().resume(), terminal: true })
  let written = ''
  const write = (text: string) => {
    written += text
  }
  const over = converse({ terminal, client, model: 'm', signal: new AbortController().signal, write })
  return { gateway, keys, over, written: () => written }
}

test('an empty line ends a conversation, after the answers before it', async () => {
  const { keys, over, written } = await start()
  keys.write('Hi\r')
  await expect.poll(written).toBe('Hello\n')
  keys.write('\r')
  await over
})

test('Ctrl-C ends it in the middle of an answer, which is cancelled', async () => {
  const { gateway, keys, over, written } = await start()
  keys.write('Hi\r')
  await expect.poll(written).toBe('Hello\n')
  keys.write('Go on\r')
  await expect.poll(written).toBe('Hello\nAnd then never')
  keys.write(CTRL_C)
  await over
  await expect
    .poll(() => [...gateway.streams.values()].map(({ cancelled }) => cancelled))
    .toEqual([false, true])
})
