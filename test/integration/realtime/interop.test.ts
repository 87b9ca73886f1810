import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { WebSocket as Undici } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import type { ServerMessage } from '../../../src/contracts/realtime.ts'
import { fetchDebianPrograms } from '../../support/debian-programs.ts'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { sendStream, wholeStream } from '../../support/scripted-upstream.ts'
import { textOf } from '../../support/socket-client.ts'

const run = promisify(execFile)

/** Three implementations that share no line with ours, as Debian has them. */
const PYTHON = {
  name: 'python-sockets',
  packages: ['websockets', 'wsproto', 'h11', 'autobahn', 'txaio', 'hyperlink', 'idna'].map(
    (name) => `python3-${name}`,
  ),
  place: 'usr/lib/python3/dist-packages',
  wanted: [],
}

let bench: GatewayBench
let url: URL

beforeAll(async () => {
  bench = await GatewayBench.start()
  bench.upstream.play((call) => void sendStream(call, wholeStream(40)))
  url = new URL(bench.server.origin)
})
afterAll(() => bench?.stop())

const WELL = { welcome: true, protocol: 'helixflow.v1', whole: true, close: 1000 }
const hello = { type: 'hello', client: 'interop' }
const pingMessage = (n: number, sizeBytes = 0) => JSON.stringify({ type: 'ping', n }).padEnd(sizeBytes)
const chat = (id: string) => ({
  type: 'chat.create',
  id,
  request: { model: 'far', messages: [{ role: 'user', content: `for ${id}` }] },
})

test.each(['websockets', 'wsproto', 'autobahn'])('%s of Python', async (client) => {
  const root = join(import.meta.dirname, '../../../node_modules/.cache/helixflow', PYTHON.name)
  const finding = await fetchDebianPrograms(root, PYTHON, undefined)
  // Elsewhere than on Debian the other clients must do.
  if ('missing' in finding) return expect(finding.missing).toMatch(/no Debian|cannot be fetched/)
  const script = join(import.meta.dirname, 'interop_python.py')
  const { stdout } = await run('python3', [script, client, url.hostname, url.port, bench.server.apiKey], {
    env: { PATH: process.env['PATH'], PYTHONPATH: finding.found.binaries },
    timeout: 30_000,
  })
  expect(JSON.parse(stdout)).toEqual({ ...WELL, pongs: [1, 2, 3, 4], ping: 'abc' })
})

test('ws', async () => {
  const headers = { authorization: `Bearer ${bench.server.apiKey}` }
  const ws = new WebSocket(`ws://${url.host}/ws`, 'helixflow.v1', { headers })
  const messages: ServerMessage[] = []
  let pong = ''
  ws.on('pong', (payload) => {
    pong = String(payload)
  })
  ws.on('open', () => {
    ws.send(JSON.stringify(hello))
    ws.send(pingMessage(1))
    ws.send(Buffer.from(pingMessage(2)))
    ws.send(pingMessage(3).slice(0, 5), { fin: false })
    ws.ping('abc')
    ws.send(pingMessage(3).slice(5), { fin: true })
    ws.send(pingMessage(4, 100 * 1024))
    ws.send(JSON.stringify(chat('ws')))
  })
  ws.on('message', (data) => {
    messages.push(JSON.parse(String(data)) as ServerMessage)
    if (messages.at(-1)?.type === 'stream.end') ws.close(1000)
  })
  const close = await new Promise<number>((resolve) => ws.once('close', resolve))
  expect({ ...report(messages), protocol: ws.protocol, close, ping: pong }).toEqual({
    ...WELL,
    pongs: [1, 2, 3, 4],
    ping: 'abc',
  })
})

test('undici, which speaks as browsers do', async () => {
  const credential = Buffer.from(bench.server.apiKey).toString('base64url')
  const ws = new Undici(`ws://${url.host}/ws`, ['helixflow.v1', `hf.bearer.${credential}`])
  const messages: ServerMessage[] = []
  ws.addEventListener('open', () => {
    ws.send(JSON.stringify(hello))
    ws.send(pingMessage(1))
    ws.send(Buffer.from(pingMessage(2)))
    ws.send(pingMessage(3, 100 * 1024))
    ws.send(JSON.stringify(chat('undici')))
  })
  ws.addEventListener('message', ({ data }) => {
    messages.push(JSON.parse(String(data)) as ServerMessage)
    if (messages.at(-1)?.type === 'stream.end') ws.close(1000)
  })
  const close = await new Promise<number>((resolve) =>
    ws.addEventListener('close', ({ code }) => resolve(code), { once: true }),
  )
  expect({ ...report(messages), protocol: ws.protocol, close }).toEqual({ ...WELL, pongs: [1, 2, 3] })
})

function report(messages: readonly ServerMessage[]): object {
  const end = messages.find((one) => one.type === 'stream.end')
  return {
    welcome: messages.some(({ type }) => type === 'welcome'),
    pongs: messages.flatMap((one) => (one.type === 'pong' ? [one.n] : [])),
    whole: end?.sha256 === createHash('sha256').update(textOf(messages)).digest('hex'),
  }
}
