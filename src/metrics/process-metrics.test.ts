import { expect, test } from 'vitest'
import { startProcessMetrics } from './process-metrics.ts'
import { MetricRegistry } from './registry.ts'

function valuesOf(registry: MetricRegistry): Map<string, number> {
  for (const _ of registry.collect());
  return new Map(
    [...registry.samples()].map(({ name, labels, value }) => [
      [name, ...Object.values(labels)].join(' '),
      value,
    ]),
  )
}

function work(ms: number): void {
  const endMs = performance.now() + ms
  while (performance.now() < endMs) Array.from({ length: 1_000 }, () => ({}))
}

test('a process says what it is, what it takes, and how late it is', async () => {
  const registry = new MetricRegistry()
  const end = startProcessMetrics(registry, { version: '1.2.3', role: 'pool' })
  // A turn of the loop in which its timer is armed, and one that comes late.
  await new Promise((resolve) => setTimeout(resolve, 50))
  work(120)
  // Its timer was due before this one.
  await new Promise((resolve) => setTimeout(resolve, 50))
  const values = valuesOf(registry)
  expect(values.get('helixflow_event_loop_lag_seconds 1')).toBeGreaterThan(0.05)
  const [info] = [...values.keys()].filter((name) => name.startsWith('helixflow_build_info'))
  expect(info).toMatch(/^helixflow_build_info 1\.2\.3 pool ./)
  const { user, system } = process.cpuUsage()
  const cpuSeconds = values.get('process_cpu_seconds_total') ?? 0
  expect(cpuSeconds).toBeGreaterThan(0.1)
  expect(cpuSeconds).toBeLessThanOrEqual((user + system) / 1e6)
  expect(values.get('process_resident_memory_bytes')).toBeGreaterThan(2 ** 24)
  expect(values.get('nodejs_heap_size_used_bytes')).toBeLessThan(
    values.get('nodejs_heap_size_total_bytes') ?? 0,
  )
  expect(values.get('process_start_time_seconds')).toBeCloseTo(performance.timeOrigin / 1_000, 0)
  await expect.poll(() => valuesOf(registry).get('process_open_fds')).toBeGreaterThan(2)
  await expect.poll(() => valuesOf(registry).get('process_max_fds')).toBeGreaterThan(100)
  await expect.poll(() => valuesOf(registry).get('nodejs_gc_duration_seconds_count minor')).toBeGreaterThan(0)
  end()
})
