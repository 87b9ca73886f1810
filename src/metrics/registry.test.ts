import { describe, expect, test } from 'vitest'
import { bucketLabel } from '../core/metrics/bucket-label.ts'
import { METRICS, type MetricName } from '../core/metrics.ts'
import { SETS_MAX } from './family.ts'
import { MetricRegistry } from './registry.ts'
import { formatFor, type TextFormat } from './text-format.ts'

const NOW_MS = 1_700_000_000_123

function registry(): MetricRegistry {
  return new MetricRegistry(() => NOW_MS)
}

function linesOf(read: MetricRegistry, format: TextFormat = 'prometheus'): string[] {
  for (const _ of read.collect());
  return [...read.text(format)].join('').split('\n')
}

function about(read: MetricRegistry, name: string, format?: TextFormat): string[] {
  return linesOf(read, format).filter((line) => line.includes(name) && !line.startsWith('#'))
}

describe('a series', () => {
  test('of a counter grows, of a gauge is what it was set to last', () => {
    const read = registry()
    read.add('helixflow_tokens_total', { model: 'a', direction: 'prompt' }, 3)
    read.add('helixflow_tokens_total', { direction: 'prompt', model: 'a' }, 4)
    read.add('helixflow_tokens_total', { model: 'a', direction: 'completion' })
    read.set('helixflow_queue_depth', { model: 'a' }, 3)
    read.set('helixflow_queue_depth', { model: 'a' }, 1)
    expect(about(read, 'tokens_total')).toEqual([
      'helixflow_tokens_total{model="a",direction="prompt"} 7',
      'helixflow_tokens_total{model="a",direction="completion"} 1',
    ])
    expect(about(read, 'queue_depth')).toEqual(['helixflow_queue_depth{model="a"} 1'])
  })

  test('of a histogram counts each value in every bucket that it fits', () => {
    const read = registry()
    for (const value of [0.0005, 0.001, 0.5, 1, 1.0001, 99]) {
      read.observe('helixflow_time_per_output_token_seconds', { model: 'a' }, value)
    }
    const found = about(read, 'time_per_output_token_seconds')
    expect(found).toContain('helixflow_time_per_output_token_seconds_bucket{model="a",le="0.001"} 2')
    expect(found).toContain('helixflow_time_per_output_token_seconds_bucket{model="a",le="0.5"} 3')
    expect(found).toContain('helixflow_time_per_output_token_seconds_bucket{model="a",le="1.0"} 4')
    expect(found).toContain('helixflow_time_per_output_token_seconds_bucket{model="a",le="+Inf"} 6')
    expect(found).toContain('helixflow_time_per_output_token_seconds_count{model="a"} 6')
    const sum = found.find((line) => line.includes('_sum'))
    expect(Number(sum?.split(' ')[1])).toBeCloseTo(101.5016, 9)
  })

  test('without labels is there before anything happened', () => {
    expect(about(registry(), 'helixflow_ratelimit_fallback_total')).toEqual([
      'helixflow_ratelimit_fallback_total 0',
    ])
  })

  test('that was dropped is gone, others stay, and it begins anew', () => {
    const read = registry()
    read.set('helixflow_device_memory_bytes', { device: 'a', kind: 'total' }, 1)
    read.set('helixflow_device_memory_bytes', { device: 'a', kind: 'free' }, 2)
    read.set('helixflow_device_memory_bytes', { device: 'b', kind: 'free' }, 3)
    read.drop('helixflow_device_memory_bytes', { device: 'a' })
    const rest = 'helixflow_device_memory_bytes{device="b",kind="free"} 3'
    expect(about(read, 'device_memory')).toEqual([rest])
    read.set('helixflow_device_memory_bytes', { device: 'a', kind: 'free' }, 5)
    expect(about(read, 'device_memory')).toEqual([
      rest,
      'helixflow_device_memory_bytes{device="a",kind="free"} 5',
    ])
  })

  test('has values as Prometheus writes them, and labels that cannot break out', () => {
    const read = registry()
    const model = 'a"\\\n{b}'
    read.set('helixflow_queue_depth', { model }, Number.NaN)
    read.set('helixflow_queue_depth', { model: 'p' }, Number.POSITIVE_INFINITY)
    read.set('helixflow_queue_depth', { model: 'n' }, Number.NEGATIVE_INFINITY)
    read.set('helixflow_queue_depth', { model: 's' }, 1.5e-9)
    expect(about(read, 'queue_depth')).toEqual([
      'helixflow_queue_depth{model="a\\"\\\\\\n{b}"} NaN',
      'helixflow_queue_depth{model="p"} +Inf',
      'helixflow_queue_depth{model="n"} -Inf',
      'helixflow_queue_depth{model="s"} 1.5e-9',
    ])
  })
})

describe('OpenMetrics', () => {
  test('is for who asks for it', () => {
    expect(formatFor(undefined)).toBe('prometheus')
    expect(formatFor('text/plain;version=0.0.4;q=0.5,*/*;q=0.1')).toBe('prometheus')
    expect(formatFor('application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3')).toBe('openmetrics')
    expect(formatFor('text/plain, application/openmetrics-text;q=0')).toBe('prometheus')
  })

  test('names the families of counters without their ending, and says where it ends', () => {
    const read = registry()
    read.add('helixflow_tokens_total', { model: 'a', direction: 'prompt' })
    const lines = linesOf(read, 'openmetrics')
    expect(lines).toContain('# TYPE helixflow_tokens counter')
    expect(lines).toContain('helixflow_tokens_total{model="a",direction="prompt"} 1')
    expect(lines.slice(-2)).toEqual(['# EOF', ''])
    expect(linesOf(read)).not.toContain('# EOF')
  })

  test('shows the latest request of a bucket as its exemplar, which the older format does not know', () => {
    const read = registry()
    read.observe('helixflow_request_duration_seconds', { model: 'a' }, 0.3, 'first')
    read.observe('helixflow_request_duration_seconds', { model: 'a' }, 0.4, 'second')
    read.observe('helixflow_request_duration_seconds', { model: 'a' }, 0.45)
    const bucket = 'helixflow_request_duration_seconds_bucket{model="a",le="0.5"} 3'
    expect(linesOf(read, 'openmetrics')).toContain(`${bucket} # {trace_id="second"} 0.4 1700000000.123`)
    expect(linesOf(read)).toContain(bucket)
  })

  test('has ends of buckets in their one form', () => {
    expect([1, 300, 0.005, 0.0001, 0.00003, Number.POSITIVE_INFINITY].map(bucketLabel)).toEqual(
      ['1.0', '300.0', '0.005', '0.0001', '3e-05', '+Inf'], // biome-ignore format: side by side
    )
  })

  test('can take every declaration', () => {
    for (const name of Object.keys(METRICS) as MetricName[]) {
      const { type, help, labels } = METRICS[name]
      expect(name.endsWith('_total'), name).toBe(type === 'counter')
      expect(name).toMatch(/^(helixflow|process|nodejs)_[a-z_]+$/)
      expect(help, name).toMatch(/^[^\n"\\]+\.$/)
      for (const label of labels) expect(label, name).toMatch(/^[a-z_]+$/)
      const { buckets } = METRICS[name] as { readonly buckets?: readonly number[] }
      expect(buckets === undefined, name).toBe(type !== 'histogram')
      expect([...(buckets ?? [])], name).toEqual([...(buckets ?? [])].sort((a, b) => a - b))
    }
  })
})

describe('samples', () => {
  test('are the numbers of the text', () => {
    const read = registry()
    read.add('helixflow_tokens_total', { model: 'a', direction: 'prompt' }, 2)
    read.observe('helixflow_request_duration_seconds', { model: 'a' }, 3)
    read.set('helixflow_queue_depth', { model: 'a' }, 1.5)
    const text = linesOf(read).filter((line) => line !== '' && !line.startsWith('#'))
    const samples = [...read.samples()].map(({ name, labels, value }) => {
      const inBraces = Object.entries(labels).map(([label, one]) => `${label}="${one}"`)
      return `${name}${inBraces.length > 0 ? `{${inBraces.join(',')}}` : ''} ${value}`
    })
    expect(samples).toEqual(text)
  })
})

describe('what is collected', () => {
  test('is set each time before somebody reads, until that is ended', () => {
    const read = registry()
    let calls = 0
    const end = read.beforeRead(() => read.set('helixflow_requests_in_flight', {}, ++calls))
    expect(about(read, 'requests_in_flight')).toEqual(['helixflow_requests_in_flight 1'])
    expect(about(read, 'requests_in_flight')).toEqual(['helixflow_requests_in_flight 2'])
    end()
    expect(about(read, 'requests_in_flight')).toEqual(['helixflow_requests_in_flight 2'])
  })
})

describe('bounds', () => {
  test('beyond so many sets of labels, one series counts for all others, and that is told', () => {
    const read = registry()
    for (let at = 0; at < SETS_MAX + 7; at++) read.add('helixflow_cost_total', { project: `p${at}` }, 2)
    for (let at = 0; at < SETS_MAX; at++) read.add('helixflow_cost_total', { project: `p${at}` }, 2)
    const found = about(read, 'helixflow_cost_total{')
    expect(found).toHaveLength(SETS_MAX + 1)
    expect(found.filter((line) => !line.endsWith(' 4'))).toEqual(['helixflow_cost_total{project="other"} 14'])
    expect(about(read, 'overflow')).toEqual([
      'helixflow_metric_overflow_total{metric="helixflow_cost_total"} 7',
    ])
  })

  test('of gauges the rest is left out, for one number cannot stand for many', () => {
    const read = registry()
    for (let at = 0; at < SETS_MAX + 7; at++) read.set('helixflow_queue_depth', { model: `m${at}` }, at)
    expect(about(read, 'helixflow_queue_depth{')).toHaveLength(SETS_MAX)
    expect(about(read, 'overflow')).toEqual([
      'helixflow_metric_overflow_total{metric="helixflow_queue_depth"} 7',
    ])
    read.drop('helixflow_queue_depth', { model: 'm1' })
    read.set('helixflow_queue_depth', { model: 'new' }, 1)
    expect(about(read, 'helixflow_queue_depth{model="new"}')).toHaveLength(1)
  })

  test('a process has fewer than 10,000 series, whatever the labels are, and says how many', () => {
    const read = registry()
    for (let at = 0; at < 1_000; at++) {
      for (const name of Object.keys(METRICS) as MetricName[]) {
        const { type, labels } = METRICS[name]
        const given = Object.fromEntries(labels.map((label, place) => [label, `${label}-${at}-${place}`]))
        // As nobody with types could: every metric with labels of its own.
        if (type === 'counter') read.add(name as never, given as never)
        else if (type === 'gauge') read.set(name as never, given as never, 1)
        else read.observe(name as never, given as never, 1)
      }
    }
    const series = linesOf(read).filter((line) => line !== '' && !line.startsWith('#'))
    expect(series.length).toBeLessThan(10_000)
    expect(series.length).toBeGreaterThan(9_000)
    expect(about(read, 'helixflow_metric_series')).toEqual([`helixflow_metric_series ${series.length}`])
  })
})
