import type { Standing } from '../../limits/store.ts'
import type { Binding } from './bindings.ts'

/** What a caller reads of the limits, in the headers that OpenAI has for it: of the rule of each kind with least left. */
export function rateHeaders(
  bindings: readonly Binding[],
  standings: readonly Standing[],
): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const kind of ['requests', 'tokens'] as const) {
    const place = tightest(bindings, standings, kind)
    const binding = bindings[place]
    const standing = standings[place]
    if (!binding || !standing) continue
    headers[`x-ratelimit-limit-${kind}`] = String(binding.rule.amount)
    headers[`x-ratelimit-remaining-${kind}`] = String(standing.remaining)
    headers[`x-ratelimit-reset-${kind}`] = durationText(standing.resetMs)
  }
  return headers
}

function tightest(
  bindings: readonly Binding[],
  standings: readonly Standing[],
  kind: 'requests' | 'tokens',
): number {
  let found = -1
  bindings.forEach(({ rule }, place) => {
    if (!(kind === 'requests' ? rule.measure === 'requests' : rule.measure.endsWith('tokens'))) return
    const best = standings[found]?.remaining ?? Number.POSITIVE_INFINITY
    if ((standings[place]?.remaining ?? 0) < best) found = place
  })
  return found
}

/** As Go writes a duration, which is what clients parse: `1h2m3s`, `6m0s`, `1.5s`, `12ms`, `0s`. */
export function durationText(durationMs: number): string {
  if (durationMs <= 0) return '0s'
  if (durationMs < 1_000) return `${Math.ceil(durationMs)}ms`
  const seconds = Math.ceil(durationMs) / 1_000
  const hours = Math.floor(seconds / 3_600)
  const minutes = Math.floor((seconds % 3_600) / 60)
  const rest = Number((seconds % 60).toFixed(3))
  if (hours > 0) return `${hours}h${minutes}m${rest}s`
  return minutes > 0 ? `${minutes}m${rest}s` : `${rest}s`
}
