import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../src/client/index.ts'
import { seededRandom } from '../../src/core/random.ts'
import { ApartPlatform, killGateway } from '../support/apart-platform.ts'
import { startNumberedEngine, textOf } from '../support/numbered-engine.ts'
import { ResetProxy } from '../support/reset-proxy.ts'
import { type Server, startServer } from '../support/server.ts'

const MANY = { connectionsPerKey: 100_000, handshakesPerSecond: 100_000 }

let ends: (() => unknown)[] = []

afterEach(async () => {
  for (const end of ends.reverse()) await end()
  ends = []
})

describe('a thousand sockets of which a tenth is reset every half second, for a minute', () => {
  test('every stream is whole, and its hash right', { timeout: 300_000 }, async () => {
    const pieces = 240
    const { server, proxy } = await farBehindProxy({ pieces, everyMs: 250 })
    const clients = Array.from({ length: 1_000 }, () => clientOf(proxy, server.apiKey))
    const reconnects = countOpenings(clients)
    const results = clients.map((client, at) => ask(client, `chaos-${at}`))
    await until(() => reconnects.open() === clients.length)
    const random = seededRandom(38)
    for (let beat = 0; beat < 120; beat++) {
      await pause(500)
      proxy.resetSome(0.1, random)
    }
    const wrong = (await Promise.all(results)).filter((text, at) => text !== textOf(`chaos-${at}`, pieces))
    expect(wrong).toEqual([])
    say(`${proxy.resets} resets; back after ms: ${reconnects.quantiles()}`)
    expect(proxy.resets).toBeGreaterThan(5_000)
  })
})

describe('two thousand connections', () => {
  test('stay for five minutes, each hears every broadcast', { timeout: 600_000 }, async () => {
    const { server, proxy } = await farBehindProxy({ pieces: 1, everyMs: 1 })
    const before = residentKib(server.pid)
    const clients = Array.from({ length: 2_000 }, () => clientOf(proxy, server.apiKey))
    const heard = clients.map(() => 0)
    const openings = countOpenings(clients)
    for (const [at, client] of clients.entries()) {
      void (async () => {
        for await (const _ of client.subscribe('custom/all')) heard[at] = (heard[at] ?? 0) + 1
      })()
    }
    await until(() => openings.open() === clients.length)
    say(`${((residentKib(server.pid) - before) / clients.length).toFixed(1)} KiB of the gateway each`)
    const [publisher] = clients
    // Whoever has not followed from the beginning is told what it missed.
    await pause(5_000)
    heard.fill(0)
    for (let beat = 1; beat <= 300; beat++) {
      await publisher?.publish('custom/all', { beat })
      await pause(1_000)
    }
    await until(() => heard.every((count) => count === 300))
    expect(openings.total()).toBe(clients.length)
  })

  test('come back from a gateway that is killed, and from one that is drained', {
    timeout: 300_000,
  }, async () => {
    const platform = await ApartPlatform.start(3, { model: null, models: {}, config: { realtime: MANY } })
    ends.push(() => platform.stop())
    const [first, second, third] = platform.gateways as [Server, Server, Server]
    const proxy = await ResetProxy.start(portOf(first))
    ends.push(() => proxy.stop())
    const clients = Array.from({ length: 2_000 }, () => clientOf(proxy, platform.apiKey))
    const openings = countOpenings(clients)
    for (const client of clients) client.connect()
    await until(() => openings.open() === clients.length)

    proxy.targetPort = portOf(second)
    let startMs = performance.now()
    await killGateway(first)
    await until(() => openings.total() >= 2 * clients.length && openings.open() === clients.length)
    say(`all back ${Math.round(performance.now() - startMs)} ms after the kill`)

    proxy.targetPort = portOf(third)
    startMs = performance.now()
    expect(await second.stop()).toBe(0)
    say(`drained in ${Math.round(performance.now() - startMs)} ms`)
    await until(() => openings.total() >= 3 * clients.length && openings.open() === clients.length)
  })
})

test('two hundred readers of a gateway that is killed miss nothing', { timeout: 300_000 }, async () => {
  const pieces = 150
  const engine = await startNumberedEngine({ pieces, everyMs: 200 })
  ends.push(() => engine.stop())
  const far = { name: 'far', url: engine.url, models: ['far'], slots: 1_000, continues: true }
  const config = { realtime: MANY, upstreams: [far] }
  const platform = await ApartPlatform.start(3, { model: null, models: {}, config })
  ends.push(() => platform.stop())
  const [makers, readers, others] = platform.gateways as [Server, Server, Server]
  const proxy = await ResetProxy.start(portOf(readers))
  ends.push(() => proxy.stop())
  const streams = Array.from({ length: 200 }, (_, at) => {
    const maker = new HelixFlowClient({ url: makers.origin, apiKey: platform.apiKey, WebSocket })
    ends.push(() => maker.close())
    return maker.chat({ model: 'far', messages: [{ role: 'user', content: `read-${at}` }] })
  })
  await until(() => streams.every(({ position }) => (position?.seq ?? 0) > 3))
  const read = streams.map(({ position }) => {
    const { stream = '', epoch = '' } = position ?? {}
    return clientOf(proxy, platform.apiKey).attachChat({ stream, epoch, seq: 0 })
  })
  await until(() => read.every(({ position }) => (position?.seq ?? 0) > 10))
  proxy.targetPort = portOf(others)
  await killGateway(readers)
  for (const [at, stream] of read.entries())
    expect((await stream.result).text).toBe(textOf(`read-${at}`, pieces))
  for (const stream of streams) await stream.result
})

async function farBehindProxy(pace: { readonly pieces: number; readonly everyMs: number }) {
  const engine = await startNumberedEngine(pace)
  ends.push(() => engine.stop())
  const far = { name: 'far', url: engine.url, models: ['far'], slots: 10_000 }
  const server = await startServer({ model: null, models: {}, config: { realtime: MANY, upstreams: [far] } })
  ends.push(() => server.stop())
  const proxy = await ResetProxy.start(portOf(server))
  ends.push(() => proxy.stop())
  return { server, proxy }
}

function clientOf(proxy: ResetProxy, apiKey: string): HelixFlowClient {
  const client = new HelixFlowClient({ url: `http://127.0.0.1:${proxy.port}`, apiKey, WebSocket })
  ends.push(() => client.close())
  return client
}

async function ask(client: HelixFlowClient, label: string): Promise<string> {
  const stream = client.chat({ model: 'far', messages: [{ role: 'user', content: label }] })
  return (await stream.result).text
}

/** How many are connected, how often any became so, and how long it took to come back. */
function countOpenings(clients: readonly HelixFlowClient[]) {
  let open = 0
  let total = 0
  const tookMs: number[] = []
  for (const client of clients) {
    let isOpen = false
    let lostMs: number | undefined
    client.on('state', (state) => {
      if (state === 'open' && !isOpen) {
        open++
        total++
        isOpen = true
        if (lostMs !== undefined) tookMs.push(performance.now() - lostMs)
      } else if (state !== 'open' && isOpen) {
        open--
        isOpen = false
        lostMs = performance.now()
      }
    })
  }
  const quantile = (share: number) => {
    const sorted = [...tookMs].sort((a, b) => a - b)
    return Math.round(sorted[Math.floor(share * (sorted.length - 1))] ?? 0)
  }
  return {
    open: () => open,
    total: () => total,
    quantiles: () => `p50 ${quantile(0.5)}, p99 ${quantile(0.99)}`,
  }
}

async function until(isSo: () => boolean): Promise<void> {
  await expect.poll(isSo, { timeout: 120_000, interval: 50 }).toBe(true)
}

function portOf({ origin }: Server): number {
  return Number(new URL(origin).port)
}

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

function say(text: string): void {
  process.stderr.write(`  ${text}\n`)
}
