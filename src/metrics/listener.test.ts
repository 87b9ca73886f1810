import { once } from 'node:events'
import { connect } from 'node:net'
import { setImmediate as immediately } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { HelixError } from '../core/errors.ts'
import { listenForMetrics, type MetricsAddress, type MetricsListener } from './listener.ts'
import { MetricRegistry } from './registry.ts'

const listeners: MetricsListener[] = []
afterEach(async () => {
  for (const one of listeners.splice(0)) await one.stop()
})

async function listening(registry: MetricRegistry, more: Partial<MetricsAddress> = {}): Promise<string> {
  const one = await listenForMetrics(registry, { host: '127.0.0.1', port: 0, ...more })
  listeners.push(one)
  return one.url
}

/** As full as it gets. */
function full(): MetricRegistry {
  const registry = new MetricRegistry()
  for (let at = 0; at < 300; at++) {
    registry.observe('helixflow_request_duration_seconds', { model: `model-${at}` }, at)
    registry.observe('helixflow_queue_wait_seconds', { model: `model-${at}` }, at)
    registry.add('helixflow_tokens_total', { model: `model-${at}`, direction: 'prompt' }, at)
  }
  return registry
}

test('a scraper gets the format that it asks for, zipped where it can read that', async () => {
  const url = await listening(full())
  const plain = await fetch(url, { headers: { 'accept-encoding': 'identity' } })
  expect(plain.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(plain.headers.get('content-encoding')).toBeNull()
  const text = await plain.text()
  const accept = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5'
  const zipped = await fetch(url, { headers: { 'accept-encoding': 'gzip', accept } })
  expect(zipped.headers.get('content-type')).toBe(
    'application/openmetrics-text; version=1.0.0; charset=utf-8',
  )
  expect(zipped.headers.get('content-encoding')).toBe('gzip')
  const body = await zipped.text()
  expect(body.endsWith('# EOF\n')).toBe(true)
  expect(body.length).toBeGreaterThan(400_000)
  expect(text.length).toBeGreaterThan(400_000)
})

test('several scrapes at once get all of it', async () => {
  const url = await listening(full())
  const texts = await Promise.all(Array.from({ length: 5 }, async () => (await fetch(url)).text()))
  expect(new Set(texts.map((text) => text.split('\n').length)).size).toBe(1)
})

test('only /metrics is there, to be read', async () => {
  const url = await listening(new MetricRegistry())
  expect((await fetch(url, { method: 'HEAD' })).status).toBe(200)
  expect((await fetch(`${url}?x=1`)).status).toBe(200)
  const posted = await fetch(url, { method: 'POST', body: 'x' })
  expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  expect((await fetch(url.replace('/metrics', '/'))).status).toBe(404)
})

test('what fails before anything was said is told, and what fails later is cut', async () => {
  const registry = new MetricRegistry()
  const url = await listening(registry)
  const end = registry.beforeRead(() => {
    throw new HelixError('internal_error', 'It broke.')
  })
  const told = await fetch(url)
  expect([told.status, await told.text()]).toEqual([500, 'It broke.'])
  end()
  const { text } = registry
  registry.text = function* (format) {
    yield* text.call(registry, format)
    throw new HelixError('internal_error', 'It broke.')
  }
  await expect(fetch(url).then((answer) => answer.text())).rejects.toThrow()
  registry.text = text
  expect((await fetch(url)).status).toBe(200)
})

test('who reads nothing is cut off at the deadline, and no more was made than waited for it', async () => {
  const registry = full()
  let pieces = 0
  let whole = 0
  for (const _ of registry.text('prometheus')) whole++
  const { text } = registry
  let givenUp = () => {}
  const isGivenUp = new Promise<void>((resolve) => {
    givenUp = resolve
  })
  registry.text = function* (format) {
    try {
      // Many times what the kernel takes by itself.
      for (let round = 0; round < 200; round++) {
        for (const piece of text.call(registry, format)) {
          pieces++
          yield piece
        }
      }
    } finally {
      givenUp()
    }
  }
  const url = new URL(await listening(registry, { deadlineMs: 500 }))
  const socket = connect(Number(url.port), url.hostname)
  socket.on('error', () => {})
  socket.pause()
  socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')
  const closed = once(socket, 'close')
  await isGivenUp
  expect(pieces).toBeGreaterThan(0)
  expect(pieces).toBeLessThan(150 * whole)
  socket.resume()
  await closed
})

test('reading 10,000 series leaves the loop to others again and again', async () => {
  const registry = full()
  let longestMs = 0
  let pieces = 0
  for (let round = 0; round < 5; round++) {
    let longestHereMs = 0
    let sinceMs = performance.now()
    for (const piece of registry.text('openmetrics')) {
      longestHereMs = Math.max(longestHereMs, performance.now() - sinceMs)
      // As long as nothing is written in one piece that could not be.
      expect(piece.length).toBeLessThan(100_000)
      pieces++
      await immediately()
      sinceMs = performance.now()
    }
    longestMs = longestMs === 0 ? longestHereMs : Math.min(longestMs, longestHereMs)
  }
  expect(pieces).toBeGreaterThan(5 * 20)
  // The quietest of several rounds: the machine is not ours alone.
  expect(longestMs).toBeLessThan(10)
})
