/**
 * Figures as people read them, letter by letter as the functions `humanize`, `humanize1024`, `humanizePercentage` and
 * `humanizeDuration` of Prometheus' templates write them: an alert reads the same wherever it was judged.
 */

/** `12.35k` */
export function short(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return fourDigits(value)
  return Math.abs(value) >= 1
    ? withPrefix(value, 1000, ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'])
    : withSmallPrefix(value, '')
}

/** `1.5Gi` */
export function bytes(value: number): string {
  if (Math.abs(value) <= 1 || !Number.isFinite(value)) return fourDigits(value)
  return withPrefix(value, 1024, ['ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei', 'Zi', 'Yi'])
}

/** `12.5%` */
export function percentage(value: number): string {
  return `${fourDigits(value * 100)}%`
}

/** `2d 3h 4m 5s`, `1.5s`, `20ms` */
export function duration(value: number): string {
  if (!Number.isFinite(value)) return fourDigits(value)
  if (value === 0) return '0s'
  if (Math.abs(value) < 1) return withSmallPrefix(value, 's')
  const sign = value < 0 ? '-' : ''
  const whole = Math.trunc(Math.abs(value))
  const [days, hours] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24]
  const [minutes, seconds] = [Math.floor(whole / 60) % 60, whole % 60]
  if (days > 0) return `${sign}${days}d ${hours}h ${minutes}m ${seconds}s`
  if (hours > 0) return `${sign}${hours}h ${minutes}m ${seconds}s`
  if (minutes > 0) return `${sign}${minutes}m ${seconds}s`
  return `${sign}${fourDigits(Math.abs(value))}s`
}

function withPrefix(value: number, base: number, prefixes: readonly string[]): string {
  let rest = value
  let prefix = ''
  for (const next of prefixes) {
    if (Math.abs(rest) < base) break
    prefix = next
    rest /= base
  }
  return fourDigits(rest) + prefix
}

function withSmallPrefix(value: number, unit: string): string {
  let rest = value
  let prefix = ''
  for (const next of ['m', 'u', 'n', 'p', 'f', 'a', 'z', 'y']) {
    if (Math.abs(rest) >= 1) break
    prefix = next
    rest *= 1000
  }
  return fourDigits(rest) + prefix + unit
}

/** C's `%.4g`. */
function fourDigits(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  if (value === 0) return '0'
  const [digits = '', power = '0'] = value.toExponential(3).split('e')
  const exponent = Number(power)
  if (exponent >= -4 && exponent < 4) return String(Number(value.toPrecision(4)))
  const size = String(Math.abs(exponent)).padStart(2, '0')
  return `${Number(digits)}e${exponent < 0 ? '-' : '+'}${size}`
}
