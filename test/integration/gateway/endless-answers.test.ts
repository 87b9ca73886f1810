import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { INSPECTABLE, Inspector } from '../../support/inspector.ts'
import { chatEvent, flood, type UpstreamCall } from '../../support/scripted-upstream.ts'

const MIB = 2 ** 20
let bench: GatewayBench
let inspector: Inspector
let bytesBefore: number

beforeAll(async () => {
  bench = await GatewayBench.start({ requestDeadline: '60s' }, INSPECTABLE)
  inspector = await Inspector.attach(bench.server)
})
afterAll(async () => {
  inspector?.close()
  await bench?.stop()
})
beforeEach(async () => {
  bytesBefore = await inspector.bytesInUse()
})

/** Bytes that the gateway holds beyond what it held before the test. */
async function growthBytes(): Promise<number> {
  return (await inspector.bytesInUse()) - bytesBefore
}

/** The most that the gateway held beyond that while the work went on, garbage apart. */
async function peakGrowthWhile(work: Promise<unknown>): Promise<number> {
  let ended = false
  let peak = 0
  const watched = work.finally(() => {
    ended = true
  })
  while (!ended) {
    peak = Math.max(peak, await growthBytes())
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await watched
  return peak
}

describe('an answer without end', () => {
  const json = { 'content-type': 'application/json' }
  const events = { 'content-type': 'text/event-stream' }

  test('of 300 MB is cut off, and its memory comes back', async () => {
    const sent: Promise<number>[] = []
    bench.upstream.play((call) => {
      call.response.writeHead(200, { ...json, 'content-length': 300e6 })
      sent.push(flood(call, ' '.repeat(64 * 1_024), 300e6))
    })
    const asking = bench.ask()
    const peak = await peakGrowthWhile(asking)
    expect(bench.failureOf(await asking)).toEqual({ status: 502, code: 'upstream_invalid_response' })
    expect(bench.upstream.calls).toHaveLength(1)
    expect(await sent[0]).toBeLessThan(300e6)
    expect(peak, 'bytes at once').toBeLessThan(300 * MIB)
    expect(await growthBytes()).toBeLessThan(8 * MIB)
  })

  test('in one line that never ends is cut off at 16 MiB', async () => {
    const sent: Promise<number>[] = []
    bench.upstream.play((call) => {
      call.response.writeHead(200, events)
      call.response.write('data: {"choices":[{"delta":{"content":"')
      sent.push(flood(call, 'x'.repeat(64 * 1_024), 300e6))
    })
    const asking = bench.ask({ stream: true })
    const peak = await peakGrowthWhile(asking)
    expect(bench.failureOf(await asking)).toEqual({ status: 502, code: 'upstream_invalid_response' })
    expect(await sent[0]).toBeLessThan(32 * MIB)
    expect(peak, 'bytes at once').toBeLessThan(64 * MIB)
    expect(await growthBytes()).toBeLessThan(8 * MIB)
  })

  test('in many events, for a caller who waits for the whole of several choices, is cut off', async () => {
    const sent: Promise<number>[] = []
    bench.upstream.play((call) => {
      call.response.writeHead(200, events)
      sent.push(flood(call, chatEvent('x'.repeat(64 * 1_024)), 400e6))
    })
    const asking = bench.ask({ n: 2 })
    await peakGrowthWhile(asking)
    expect(bench.failureOf(await asking)).toEqual({ status: 502, code: 'upstream_invalid_response' })
    expect(await sent[0]).toBeLessThan(300e6)
    expect(await growthBytes()).toBeLessThan(8 * MIB)
  })
})

describe('callers that ask for a large stream and never read it', () => {
  const CALLERS = 20

  /** Asks, and then does not read a byte until told to. */
  function askAndStall(): Promise<StalledCaller> {
    const { hostname, port } = new URL(bench.server.origin)
    const body = JSON.stringify({
      model: 'far',
      messages: [{ role: 'user', content: 'Hello' }],
      stream: true,
    })
    const socket = connect({ host: hostname, port: Number(port) })
    socket.pause()
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    socket.on('error', () => {})
    const ended = new Promise<string>((resolve) => socket.once('close', () => resolve(text)))
    onTestFinished(() => void socket.destroy())
    return new Promise((resolve) => {
      socket.write(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${bench.server.apiKey}\r\n` +
          `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
        () => resolve({ socket, ended }),
      )
    })
  }

  test('hold little memory, are cut, and free their slots', async () => {
    const sent: Promise<number>[] = []
    bench.upstream.play((call: UpstreamCall) => {
      call.response.writeHead(200, events)
      sent.push(flood(call, chatEvent('x'.repeat(16 * 1_024)), 50e6))
    })
    const logBefore = bench.server.log().length
    const callers = await Promise.all(Array.from({ length: CALLERS }, askAndStall))
    const lastCall = await bench.upstream.call(CALLERS)
    expect(await growthBytes(), 'bytes held for all of them').toBeLessThan(CALLERS * MIB)
    const closed = Promise.all(bench.upstream.calls.map((call) => call.closed))
    await withinMs(4_000, closed, 'the upstream is left')
    expect(await lastCall.closed).toBeGreaterThan(0)
    for (const sentBytes of await Promise.all(sent)) expect(sentBytes).toBeLessThan(50e6)
    // The log has a line for each request when its connection has been closed, and not before.
    const lines = () =>
      bench.server
        .log()
        .slice(logBefore)
        .split('\n')
        .filter((line) => line.includes('"status":504') && line.includes('deadline_exceeded')).length
    await withinMs(
      4_000,
      until(() => lines() === CALLERS),
      'the callers are cut',
    )
    expect(await growthBytes()).toBeLessThan(4 * MIB)
    for (const { socket, ended } of callers) {
      socket.resume()
      expect(await ended).not.toContain('[DONE]')
    }
  })

  const events = { 'content-type': 'text/event-stream' }
})

async function withinMs<T>(limitMs: number, work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms: ${what}`)), limitMs)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20))
}

interface StalledCaller {
  readonly socket: Socket
  /** What it had been sent when the connection was gone. */
  readonly ended: Promise<string>
}
