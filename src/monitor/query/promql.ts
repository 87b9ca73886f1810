import { bucketLabel } from '../../core/metrics/bucket-label.ts'
import type { Condition, Query } from './query.ts'
import { type AnySelection, labelsOf, labelsOfCondition, sameLabels } from './selection.ts'

/** A question in the language of Prometheus. Where we give no answer, its answer may be NaN, which is beyond no bound. */
export function promql(query: Query): string {
  switch (query.kind) {
    case 'gauge':
      return combined(query.combine, query, selector(query))
    case 'over':
      return combined(
        query.combine,
        query,
        `${query.extreme}_over_time(${selector(query, '', query.windowMs)})`,
      )
    case 'rate':
    case 'increase':
      return combined('sum', query, `${query.kind}(${selector(query, '', query.windowMs)})`)
    case 'quantile': {
      const rates = `rate(${selector(query, '_bucket', query.windowMs)})`
      return `histogram_quantile(${query.quantile}, sum by (${['le', ...(query.by ?? [])].join(', ')}) (${rates}))`
    }
    case 'mean': {
      const [sum, count] = ['_sum', '_count'].map((part) =>
        combined('sum', query, `rate(${selector(query, part, query.windowMs)})`),
      )
      return `${sum} / (${count} > 0)`
    }
    case 'observed': {
      const part = query.atMost === undefined ? selector(query, '_count', query.windowMs) : bucket(query)
      return combined('sum', query, `rate(${part})`)
    }
    case 'age':
      return combined(query.combine, query, `time() - ${selector(query)}`)
    case 'ratio':
      return ratio(query)
    case 'difference':
      return binary(query.of, '-', query.less)
    case 'sum':
      return binary(query.of, '+', query.and)
    case 'scale':
      return `${operand(query.of)} * ${query.by}`
  }
}

/** What gives the labels for which a condition holds, with its answer. */
export function promqlOfCondition(condition: Condition): string {
  if (condition.kind === 'absent') return `absent(${condition.metric})`
  if (condition.kind === 'all') return condition.of.map(alongside(condition.of[0])).join(' ')
  const { query, bound } = condition
  const sign = condition.kind === 'above' ? '>' : '<'
  return typeof bound === 'number' ? `${operand(query)} ${sign} ${bound}` : binary(query, sign, bound)
}

function alongside(first: Condition): (condition: Condition, index: number) => string {
  return (condition, index) => {
    const text = `(${promqlOfCondition(condition)})`
    if (index === 0) return text
    const labels = labelsOfCondition(condition)
    const same = sameLabels(labelsOfCondition(first), labels)
    return same ? `and ${text}` : `and on (${labels.join(', ')}) ${text}`
  }
}

function ratio({ of, to, orZero }: Extract<Query, { kind: 'ratio' }>): string {
  const above = orZero ? `(${operand(of)} or ${operand(to)} * 0)` : operand(of)
  return `${above} / ${matching(of, to)}(${operand(to)} != 0)`
}

function binary(left: Query, sign: string, right: Query): string {
  return `${operand(left)} ${sign} ${matching(left, right)}${operand(right)}`
}

function matching(left: Query, right: Query): string {
  const labels = labelsOf(right)
  return sameLabels(labelsOf(left), labels) ? '' : `on (${labels.join(', ')}) group_left () `
}

/** In parentheses where signs of its own would be torn apart. */
function operand(query: Query): string {
  const joined = ['ratio', 'difference', 'sum', 'scale', 'mean'].includes(query.kind)
  return joined ? `(${promql(query)})` : promql(query)
}

function combined(how: string, { by }: AnySelection, inner: string): string {
  return by?.length ? `${how} by (${by.join(', ')}) (${inner})` : `${how}(${inner})`
}

function selector(selection: AnySelection, part = '', windowMs?: number): string {
  const matchers = Object.entries(selection.where ?? {}).flatMap(([label, matcher]) => {
    if (matcher === undefined) return []
    if (typeof matcher === 'string') return [`${label}=${quoted(matcher)}`]
    // Only JavaScript has to mark a slash.
    const expression =
      matcher instanceof RegExp ? matcher.source.replaceAll('\\/', '/') : matcher.map(literally).join('|')
    return [`${label}=~${quoted(expression)}`]
  })
  const braces = matchers.length > 0 ? `{${matchers.join(', ')}}` : ''
  return `${selection.metric}${part}${braces}${windowMs === undefined ? '' : `[${promDuration(windowMs)}]`}`
}

function bucket({ windowMs, atMost = 0, ...query }: Extract<Query, { kind: 'observed' }>): string {
  const { where, ...selection }: AnySelection = query
  return selector({ ...selection, where: { ...where, le: bucketLabel(atMost) } }, '_bucket', windowMs)
}

function quoted(text: string): string {
  return JSON.stringify(text)
}

function literally(text: string): string {
  return text.replaceAll(/[\\^$.|?*+()[\]{}]/g, '\\$&')
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const

/** `90s`, `5m`, `6h`: the greatest unit that says it exactly. */
export function promDuration(durationMs: number): string {
  const [unit, sizeMs] = UNITS.find(([, size]) => durationMs > 0 && durationMs % size === 0) ?? ['s', 1000]
  return `${durationMs / sizeMs}${unit}`
}
