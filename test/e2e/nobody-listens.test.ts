import { spawnSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { type Server, type ServerOptions, startServer } from '../support/server.ts'

const PAIRS = 150
const SCRAPERS = 20

async function start(options: ServerOptions): Promise<Server> {
  const server = await startServer(options)
  onTestFinished(async () => void (await server.stop()))
  return server
}

test('a log that nobody reads, scrapers that stand still and a silent collector of traces cost requests nothing', async () => {
  const heard = await start({})
  const unheard = await start({
    logDescriptor: fullPipe(),
    config: {
      log: { level: 'debug' },
      tracing: { endpoint: await silentServer() },
      monitor: { interval: '200ms' },
    },
  })
  for (let one = 0; one < SCRAPERS; one++) stalledScraper(unheard)
  const [took, without]: [number[], number[]] = [[], []]
  for (let pair = 0; pair < PAIRS; pair++) {
    took.push(await ask(unheard, pair))
    without.push(await ask(heard, pair))
  }
  // What is written and recorded takes a part of a millisecond; whoever waited for a reader would wait for seconds.
  expect(median(took)).toBeLessThan(1.5 * median(without) + 3)
  expect(Math.max(...took)).toBeLessThan(5_000)
  // Nobody has listened indeed, and whoever asks now hears so.
  const metrics = async () => (await fetch(unheard.metricsUrl)).text()
  await expect
    .poll(metrics, { timeout: 30_000, interval: 500 })
    .toMatch(/^helixflow_trace_spans_dropped_total [1-9]/m)
  expect((await fetch(`${unheard.origin}/healthz`)).status).toBe(200)
  expect(await unheard.stop()).toBe(0)
})

/** @returns how long a streamed answer took, in milliseconds */
async function ask({ url, apiKey }: Server, number: number): Promise<number> {
  const sinceMs = performance.now()
  const answer = await fetch(`${url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ model: 'tiny', max_tokens: 4, stream: true },
      messages: [{ role: 'user', content: `Number ${number}` }],
    }),
  })
  expect(await answer.text()).toContain('[DONE]')
  return performance.now() - sinceMs
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

/** The writing end of a pipe without any room. */
function fullPipe(): number {
  const folder = mkdtempSync(join(tmpdir(), 'helixflow-pipe-'))
  const path = join(folder, 'log')
  expect(spawnSync('mkfifo', [path]).status).toBe(0)
  // Held open by us for reading too, and never read.
  const pipe = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  // As programs are given theirs: whoever writes would wait.
  const end = openSync(path, constants.O_WRONLY)
  onTestFinished(() => {
    for (const one of [pipe, end]) closeSync(one)
    rmSync(folder, { recursive: true })
  })
  const text = 'x'.repeat(4_096)
  expect(() => {
    for (;;) writeSync(pipe, text)
  }).toThrow('EAGAIN')
  return end
}

/** Takes connections and answers nothing. @returns where it would take traces */
async function silentServer(): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})))
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${port}/v1/traces`
}

/** Asks for all metrics again and again, and reads none of them. */
function stalledScraper({ metricsUrl }: Server): void {
  const { port, hostname } = new URL(metricsUrl)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  socket.pause()
  socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(50))
  onTestFinished(() => void socket.destroy())
}
