import type { Quantiles, Report } from './report.ts'

/** A report as rows of what and how much, for a terminal. */
export function reportRows(
  report: Report,
  goodput: number | undefined,
): readonly (readonly [string, string])[] {
  const { requests, slo, coldStarts, loads, memory, devices, tenants } = report
  const ends = [`${requests.served} served`]
  for (const end of ['refused', 'cancelled', 'failed'] as const) {
    if (requests[end] > 0) ends.push(`${requests[end]} ${end}`)
  }
  const purposes = Object.entries(loads.byPurpose).map(([purpose, count]) => `${count} ${purpose}`)
  return [
    ['requests', `${requests.all}: ${ends.join(', ')}`],
    [
      'in time',
      `${percent(slo.attainment)} (first token ${percent(slo.firstToken)}, the others ${percent(slo.tokens)})`,
    ],
    ...(goodput === undefined ? [] : [['goodput', goodputText(goodput)] as const]),
    ['cold starts', `${coldStarts.visible} (${percent(coldStarts.rate)})`],
    ['loads', `${loads.count}${purposes.length > 0 ? `: ${purposes.join(', ')}` : ''}`],
    [
      '',
      `${loads.per1000Requests.toFixed(1)} per 1,000 requests, ${gib(loads.bytes)}, ${loads.fromPageCache} from the page cache`,
    ],
    ...(loads.prefetchedInVain > 0 ? [['', `${loads.prefetchedInVain} prefetched in vain`] as const] : []),
    ['first token', quantilesText(report.firstTokenMs.all)],
    ['  warm', quantilesText(report.firstTokenMs.warm)],
    ['  cold', quantilesText(report.firstTokenMs.cold)],
    ['tokens', `${report.tokensPerSecond.toFixed(1)} per second`],
    ['memory', `${percent(memory.usedShare)} in use, fragmentation ${percent(memory.fragmentation)}`],
    ['', `${memory.failedPlacements} waits although all free memory together was enough`],
    [
      'devices',
      `${Object.values(devices.busyShare).map(percent).join(', ')} busy, the busiest ${devices.maxToMean.toFixed(2)} of the mean`,
    ],
    ...(tenants.count > 1
      ? [
          [
            'tenants',
            `${tenants.count}; slowdown ${tenants.meanSlowdown.toFixed(1)}, of the worst ${tenants.worstSlowdown.toFixed(1)}`,
          ] as const,
        ]
      : []),
    ...(report.prefixHits === undefined ? [] : [['prefix hits', percent(report.prefixHits)] as const]),
  ]
}

function goodputText(speed: number): string {
  return speed === 0 ? 'not in time even at the lowest speed' : `${speed.toFixed(2)} times the recorded speed`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share >= 0.0995 || share === 0 ? 1 : 2)} %`
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`
}

function quantilesText({ p50, p95, p99 }: Quantiles): string {
  return `p50 ${milliseconds(p50)}, p95 ${milliseconds(p95)}, p99 ${milliseconds(p99)}`
}

export function milliseconds(value: number): string {
  return value >= 10_000 ? `${(value / 1_000).toFixed(1)} s` : `${value.toFixed(value < 100 ? 1 : 0)} ms`
}
