import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { sendJson } from '../../support/http-administration.ts'
import {
  chatEvent,
  sendEvents,
  sendStream,
  type UpstreamCall,
  wholeStream,
} from '../../support/scripted-upstream.ts'
import { SlowProxy } from '../../support/slow-proxy.ts'
import { type OpenOptions, SocketClient, textOf } from '../../support/socket-client.ts'

const HELLO_MS = 2_000
const HEARTBEAT_MS = 4_000
const ANSWER_MS = 4_000
const IDLE_MS = 3_000
const AGE_MS = 12_000
const GRACE_MS = 5_000
/** A look at all connections comes twice a second, and the machine is not ours alone. */
const LATE_MS = 1_500

let bench: GatewayBench
let apiKey: string
let origin: string
/** Ended with the file: tests that run beside each other cannot say at whose end. */
const opened: { stop(): Promise<void> }[] = []

beforeAll(async () => {
  const gateway = { drainGrace: `${GRACE_MS}ms`, stallTimeout: '20s', requestDeadline: '60s' }
  const realtime = {
    helloTimeout: `${HELLO_MS}ms`,
    heartbeat: `${HEARTBEAT_MS}ms`,
    heartbeatTimeout: `${ANSWER_MS}ms`,
    idle: `${IDLE_MS}ms`,
    age: `${AGE_MS}ms`,
    handshakesPerSecond: 10_000,
    bufferBytes: '64MiB',
  }
  bench = await GatewayBench.start(gateway, {}, { realtime, auth: { accessTokenTtl: '4s' } })
  apiKey = bench.server.apiKey
  origin = bench.server.origin
})
afterAll(async () => {
  for (const one of opened) await one.stop()
  await bench?.stop()
})

async function connect(options: OpenOptions = {}, to = origin): Promise<SocketClient> {
  const client = await SocketClient.open(to, { apiKey, ...options })
  opened.push({ stop: async () => client.ws.terminate() })
  return client
}

/** A connection that is not idle. */
async function following(options: OpenOptions = {}, to = origin): Promise<SocketClient> {
  const client = await connect(options, to)
  await client.hello({ topics: [{ topic: 'custom/quiet' }] })
  return client
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(bench.server.metricsUrl)).text()
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1])
}

describe.concurrent('a connection', () => {
  test('that says nothing is closed', async () => {
    const startMs = performance.now()
    const mute = [await connect(), await connect({ protocols: [] })]
    const endings = await Promise.all(mute.map(({ ended }) => ended))
    expect(endings.map(({ code, reason }) => [code, reason])).toEqual([
      [4408, 'no_hello'],
      [1008, 'no_hello'],
    ])
    expect(Math.max(...endings.map(({ atMs }) => atMs)) - startMs).toBeLessThan(HELLO_MS + 500)
  })

  test('without stream and topic is closed when it was idle for long', async () => {
    const client = await connect()
    await client.hello()
    const startMs = performance.now()
    const { code, reason, atMs } = await client.ended
    expect([code, reason]).toEqual([1001, 'idle'])
    expect(atMs - startMs).toBeGreaterThan(IDLE_MS - 600)
    expect(atMs - startMs).toBeLessThan(IDLE_MS + LATE_MS)
  })

  test('is told before its age ends it', async () => {
    const client = await following()
    const startMs = performance.now()
    const notice = await client.find('server.draining')
    expect(notice.deadline_ms).toBeLessThanOrEqual(AGE_MS / 10)
    expect(notice.reconnect_after_ms).toBeLessThanOrEqual(5_000)
    const { code, reason, atMs } = await client.ended
    expect([code, reason]).toEqual([1001, 'age'])
    expect(atMs - startMs).toBeGreaterThan(AGE_MS - 1_000)
    expect(atMs - startMs).toBeLessThan(AGE_MS + AGE_MS / 12 + LATE_MS)
  })

  test('of an access token is told before the token ends, and ends with it', async () => {
    const body = { grant_type: 'api_key', api_key: apiKey }
    const answer = await sendJson(bench.server, apiKey, { method: 'POST', path: '/auth/v1/token', body })
    const token = (answer.body as { access_token?: string }).access_token ?? ''
    const [ending, refreshed] = [await following({ apiKey: token }), await following({ apiKey: token })]
    expect((await ending.find('auth.expiring')).in_ms).toBeLessThanOrEqual(4_000)
    await refreshed.find('auth.expiring')
    await refreshed.ask({ type: 'auth.refresh', token: apiKey })
    expect(await ending.ended).toMatchObject({ code: 4401, reason: 'token_expired' })
    refreshed.send({ type: 'ping', n: 1 })
    await refreshed.find('pong')
  })

  test('whose other side is gone without a word is found, and leaves nothing behind', async () => {
    const proxy = await SlowProxy.start(Number(new URL(origin).port))
    opened.push(proxy)
    const client = await following({}, `http://127.0.0.1:${proxy.port}`)
    const other = await connect()
    await other.hello({ topics: [{ topic: 'custom/dead/presence' }] })
    await client.ask({ type: 'subscribe', topic: 'custom/dead' })
    const isCount = (count: number) => (one: { data: unknown }) =>
      (one.data as { connections: number }).connections === count
    await other.find('event', isCount(1))
    const startMs = performance.now()
    proxy.swallows = true
    const seen = other.messages.length
    await other.find('event', (one) => other.messages.indexOf(one) >= seen && isCount(0)(one))
    expect(performance.now() - startMs).toBeLessThan(HEARTBEAT_MS + ANSWER_MS + LATE_MS)
  })

  test('that answers pings is left alone, however quiet it is', async () => {
    const client = await following()
    let pings = 0
    client.ws.on('ping', () => pings++)
    await expect.poll(() => pings, { timeout: AGE_MS }).toBeGreaterThanOrEqual(2)
    expect(client.ws.readyState).toBe(client.ws.OPEN)
  })

  test('that was reset is gone at once', async () => {
    const proxy = await SlowProxy.start(Number(new URL(origin).port))
    opened.push(proxy)
    const client = await following({}, `http://127.0.0.1:${proxy.port}`)
    const other = await connect()
    await other.hello({ topics: [{ topic: 'custom/reset/presence' }] })
    await client.ask({ type: 'subscribe', topic: 'custom/reset' })
    const isCount = (count: number) => (one: { data: unknown }) =>
      (one.data as { connections: number }).connections === count
    await other.find('event', isCount(1))
    const seen = other.messages.length
    proxy.reset()
    await other.find('event', (one) => other.messages.indexOf(one) >= seen && isCount(0)(one))
  })
})

describe('readers that do not read', () => {
  test('are bounded in memory, closed, and lose nothing when they come back; others notice nothing', async () => {
    const events = Array.from({ length: 1_500 }, (_, at) => chatEvent(`${at} `.padEnd(4_096, '.')))
    let start = () => {}
    const started = new Promise<void>((resolve) => {
      start = resolve
    })
    bench.upstream.play((call) => {
      void started.then(() => sendStream(call, [...events, ...wholeStream(0)]))
    })
    const healthy = await Promise.all(Array.from({ length: 20 }, () => following()))
    const stuck = await Promise.all(Array.from({ length: 20 }, () => following()))
    const [first] = healthy
    if (!first) throw new Error('no client')
    const { stream, epoch } = await first.chat()
    const resume = { type: 'resume', stream, epoch, seq: 0 } as const
    await Promise.all([...healthy.slice(1), ...stuck].map((one) => one.ask(resume)))
    for (const one of stuck) one.ws.pause()
    start()
    let buffered = 0
    const watching = setInterval(async () => {
      buffered = Math.max(buffered, await metric('helixflow_ws_buffered_bytes'))
    }, 100)
    const whole = await Promise.all(healthy.map((one) => one.wholeStream(stream)))
    for (const seen of whole) expect(textOf(seen).length).toBe(1_500 * 4_096)
    // They stay paused until the gateway has let them go, so that none makes progress meanwhile.
    const read = () => metric('helixflow_ws_closed_total{code="1013"}').catch(() => 0)
    await expect.poll(read, { timeout: 12_000, interval: 250 }).toBe(20)
    clearInterval(watching)
    expect(buffered).toBeGreaterThan(0)
    expect(buffered).toBeLessThan(40 * 2 ** 19)
    const end = whole[0]?.at(-1)
    for (const one of stuck.slice(0, 5)) {
      one.ws.resume()
      await one.ended
      const had = one.messages.filter((message) => 'seq' in message && 'stream' in message)
      const last = had.at(-1)
      const seq = last && 'seq' in last ? ('seq_to' in last && last.seq_to ? last.seq_to : last.seq) : 0
      const again = await connect()
      await again.hello({ resume: [{ stream, epoch, seq: seq ?? 0 }] })
      const text = textOf(had) + textOf(await again.wholeStream(stream))
      expect(end).toMatchObject({ sha256: createHash('sha256').update(text).digest('hex') })
    }
  }, 60_000)
})

describe('a gateway that is stopped', () => {
  test('tells everybody, lets streams end, and is gone within its grace', async () => {
    const idle = await Promise.all(Array.from({ length: 5 }, () => following()))
    const calls: UpstreamCall[] = []
    bench.upstream.play((call) => {
      calls.push(call)
      void sendEvents(call, [chatEvent('a')])
    })
    const [ending, endless] = [await following(), await following()]
    const { stream } = await ending.chat()
    await ending.find('stream.delta')
    await endless.chat()
    await endless.find('stream.delta')
    const startMs = performance.now()
    bench.server.process.kill('SIGTERM')
    for (const one of [...idle, ending, endless]) {
      const { deadline_ms, reconnect_after_ms } = await one.find('server.draining')
      expect(deadline_ms).toBeLessThanOrEqual(GRACE_MS)
      expect(reconnect_after_ms).toBeLessThan(5_000)
    }
    const ready = await fetch(`${origin}/readyz`)
    expect(ready.status).toBe(503)
    expect(await ready.json()).toMatchObject({ reasons: [{ code: 'server_draining' }] })
    expect(await SocketClient.refused(origin, { apiKey })).toMatchObject({
      status: 503,
      code: 'server_draining',
    })
    const request = { model: 'far', messages: [{ role: 'user', content: 'more' }] }
    const refusal = await ending.ask({ type: 'chat.create', request })
    expect(refusal).toMatchObject({ status: 503, error: { code: 'server_draining' }, retryable: true })
    for (const { ended } of idle) {
      const { code, reason, atMs } = await ended
      expect([code, reason]).toEqual([1012, 'server_draining'])
      expect(atMs - startMs).toBeLessThan(2_000)
    }
    const [first] = calls
    if (first) {
      for (const event of wholeStream(0)) first.response.write(event)
      first.response.end()
    }
    expect((await ending.wholeStream(stream)).at(-1)).toMatchObject({ type: 'stream.end' })
    expect(await ending.ended).toMatchObject({ code: 1012 })
    const last = await endless.ended
    expect(last).toMatchObject({ code: 1012 })
    expect(last.atMs - startMs).toBeLessThan(GRACE_MS)
    expect(await bench.server.stop()).toBe(0)
  }, 30_000)
})
