/** What a scraper can read. */
export type TextFormat = 'prometheus' | 'openmetrics'

export const CONTENT_TYPES: Readonly<Record<TextFormat, string>> = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

/** OpenMetrics where the scraper names it and does not refuse it: it alone has exemplars. */
export function formatFor(accept: string | undefined): TextFormat {
  const offers = (accept ?? '').toLowerCase().split(',')
  const isWanted = offers.some(
    (offer) =>
      offer.trim().startsWith('application/openmetrics-text') && !/;\s*q=0(?:\.0*)?\s*(?:;|$)/.test(offer),
  )
  return isWanted ? 'openmetrics' : 'prometheus'
}

/** As both formats write numbers. */
export function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value === Number.NEGATIVE_INFINITY) return '-Inf'
  return String(value)
}

export function escapedText(value: string): string {
  return /[\\\n"]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
    : value
}
