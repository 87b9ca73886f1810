import { readdir, readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { constants, monitorEventLoopDelay, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import type { Metrics } from '../core/metrics.ts'

export interface ProcessFacts {
  readonly version: string
  /** What this process does: `all`, `gateway`, `pool`, `node`, `auth`, `monitor`. */
  readonly role: string
}

const RESOLUTION_MS = 20
/** Who asks twice within it, as Prometheus and the monitor do, gets one answer: neither takes it from the other. */
const LAG_WINDOW_MS = 5_000
const QUANTILES = [
  ['0.5', 50],
  ['0.99', 99],
] as const
const GC_KINDS: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weak',
}

/** An entry of type `gc`, which the types of Node know without its detail. */
type GarbageEntry = PerformanceEntry & { readonly detail: { readonly kind: number } }

/** Has this process tell of itself: most of it only when somebody reads. Returns what ends that. */
export function startProcessMetrics(metrics: Metrics, { version, role }: ProcessFacts): () => void {
  metrics.set('helixflow_build_info', { version, role, node: hostname() }, 1)
  metrics.set('process_start_time_seconds', {}, performance.timeOrigin / 1_000)
  void tellFileLimit(metrics)
  const ends = [followLag(metrics), followGarbage(metrics), metrics.beforeRead(resources(metrics))]
  return () => {
    for (const end of ends) end()
  }
}

function followLag(metrics: Metrics): () => void {
  // Counted by a timer outside of JavaScript.
  const lag = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  lag.enable()
  let sinceMs = Number.NEGATIVE_INFINITY
  const unread = metrics.beforeRead(() => {
    if (lag.count === 0 || performance.now() - sinceMs < LAG_WINDOW_MS) return
    sinceMs = performance.now()
    const set = (share: string, nanoseconds: number) => {
      // It measures how long its timer took, not how late it was.
      const lateMs = Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
      metrics.set('helixflow_event_loop_lag_seconds', { share }, lateMs / 1_000)
    }
    for (const [quantile, percentile] of QUANTILES) set(quantile, lag.percentile(percentile))
    set('1', lag.max)
    lag.reset()
  })
  return () => {
    unread()
    lag.disable()
  }
}

function followGarbage(metrics: Metrics): () => void {
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { duration, detail } = entry as GarbageEntry
      metrics.observe(
        'nodejs_gc_duration_seconds',
        { kind: GC_KINDS[detail.kind] ?? 'unknown' },
        duration / 1_000,
      )
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return () => observer.disconnect()
}

function resources(metrics: Metrics): () => void {
  let cpuTold = 0
  return () => {
    const { user, system } = process.cpuUsage()
    const cpuSeconds = (user + system) / 1e6
    metrics.add('process_cpu_seconds_total', {}, cpuSeconds - cpuTold)
    cpuTold = cpuSeconds
    const { rss, heapUsed, heapTotal, external } = process.memoryUsage()
    metrics.set('process_resident_memory_bytes', {}, rss)
    metrics.set('nodejs_heap_size_used_bytes', {}, heapUsed)
    metrics.set('nodejs_heap_size_total_bytes', {}, heapTotal)
    metrics.set('nodejs_external_memory_bytes', {}, external)
    void tellFiles(metrics)
  }
}

/** For the next who reads: with thousands of sockets, the kernel takes milliseconds to list them. Linux alone has it. */
async function tellFiles(metrics: Metrics): Promise<void> {
  const files = await readdir('/proc/self/fd').catch(() => undefined)
  // One of them is the list itself.
  if (files) metrics.set('process_open_fds', {}, files.length - 1)
}

async function tellFileLimit(metrics: Metrics): Promise<void> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const most = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
  if (most !== undefined) metrics.set('process_max_fds', {}, Number(most))
}
