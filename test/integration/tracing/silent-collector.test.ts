import { createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { noMetrics } from '../../../src/core/metrics.ts'
import { noTracer } from '../../../src/core/tracing.ts'
import { systemClock } from '../../../src/system.ts'
import { openTracing } from '../../../src/tracing/open-tracing.ts'

const settings = {
  ...{ headers: {}, sampleRatio: 1, serviceName: 'test', attributes: {}, upstreams: false },
  endpoint: undefined as string | undefined,
}
const service = { role: 'all', version: undefined, instance: 'one' }

function parts(endpoint: string | undefined, chance = 0) {
  const told = { dropped: 0, lines: 0 }
  const dropped = (_name: string, _labels: object, by = 1) => {
    told.dropped += by
  }
  const metrics = { ...noMetrics, add: dropped }
  const log = { ...silentLog, warn: () => void told.lines++ }
  const random = { uniform: () => chance }
  return {
    told,
    parts: { settings: { ...settings, endpoint }, service, clock: systemClock, random, metrics, log },
  }
}

async function silentCollector(): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  return typeof address === 'object' ? `http://127.0.0.1:${address?.port}/v1/traces` : ''
}

test('a collector that never answers costs a bounded memory, is told once, and holds the end up for two seconds at most', async () => {
  const { told, parts: given } = parts(await silentCollector())
  const { tracer, stop } = await openTracing(given)
  const spans = 10_000
  for (let at = 0; at < spans; at++) tracer.begin('work', 'internal', {}).end()
  // What does not fit is dropped at once, and not kept.
  expect(told.dropped).toBeGreaterThanOrEqual(spans - 4_096)
  const startMs = performance.now()
  await stop()
  expect(performance.now() - startMs).toBeLessThan(2_500)
  await expect.poll(() => told.dropped, { timeout: 3_000 }).toBe(spans)
  expect(told.lines).toBe(1)
}, 15_000)

test('who asks cannot have a request recorded that our own chance leaves out', async () => {
  const { parts: given } = parts(await silentCollector(), 0.5)
  const { tracer, stop } = await openTracing({ ...given, settings: { ...given.settings, sampleRatio: 0.5 } })
  const traceparent = '00-00000000000000000000000000000001-0000000000000001-01'
  expect(tracer.begin('work', 'server', { traceparent }).traceId).toBeUndefined()
  expect(tracer.follow('work', 'server', { traceparent }).traceId).toBe('00000000000000000000000000000001')
  await stop()
})

test('without an endpoint there is no tracer at all', async () => {
  expect((await openTracing(parts(undefined).parts)).tracer).toBe(noTracer)
})
