import type { Sample } from '../core/metrics/sample.ts'

/**
 * One line of what a process exports: Prometheus' text format or OpenMetrics, whose exemplar and moment are passed over.
 * Undefined for a comment and for what is no sample: a process of another version must not hide what else it says.
 */
export function parseSampleLine(line: string): Sample | undefined {
  const [, name, rest] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(.*)$/.exec(line) ?? []
  if (name === undefined || rest === undefined) return undefined
  if (!rest.startsWith('{')) return sampleOf(name, {}, rest)
  const labels: Record<string, string> = {}
  const end = readLabels(rest, labels)
  return end === undefined ? undefined : sampleOf(name, labels, rest.slice(end))
}

/** One label with its value and what separates it from the next. */
const LABEL = /\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?/y
const END = /\s*\}/y

/** Puts the labels between the braces into `labels`; where they end, or undefined where they do not. */
function readLabels(text: string, labels: Record<string, string>): number | undefined {
  let at = 1
  for (;;) {
    LABEL.lastIndex = at
    const [found, label, value] = LABEL.exec(text) ?? []
    if (found === undefined || label === undefined || value === undefined) break
    labels[label] = value.includes('\\') ? unescaped(value) : value
    at += found.length
  }
  END.lastIndex = at
  return END.test(text) ? END.lastIndex : undefined
}

function unescaped(value: string): string {
  return value.replaceAll(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character))
}

function sampleOf(name: string, labels: Sample['labels'], rest: string): Sample | undefined {
  const [text] = rest.trimStart().split(/\s/, 1)
  const value = numberOf(text ?? '')
  return value === undefined ? undefined : { name, labels, value }
}

function numberOf(text: string): number | undefined {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  if (text === '-Inf') return Number.NEGATIVE_INFINITY
  if (text === 'NaN') return Number.NaN
  return /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text) ? Number(text) : undefined
}
