/**
 * A bucket's end as its label `le` has it: `1.0`, `0.5`, `1e-05`, `+Inf`. OpenMetrics asks for this form, and the older
 * text format takes any: in one form only, a series is the same one however it was scraped.
 */
export function bucketLabel(end: number): string {
  if (end === Number.POSITIVE_INFINITY) return '+Inf'
  if (Number.isInteger(end)) return `${end}.0`
  if (Math.abs(end) >= 1e-4) return String(end)
  return end.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
}
