import { hasEndlessReference } from './json-schema-references.ts'

/**
 * Bounds on a caller's JSON schema. An engine turns it into a grammar; a deep, wide or many times repeated one
 * would cost it unbounded time and memory (D22, CVE-2025-48944 for a peer that did not check).
 */
const DEPTH_MAX = 32
const NODES_MAX = 5_000
const REPEATS_MAX = 2_000
/** Each repeat stands in a grammar as often as it may happen. */
const REPEATS_SUM_MAX = 100_000
/** A grammar follows all of them with each token, for as long as the text may still become any. */
const ALTERNATIVES_SUM_MAX = 1_000
const PATTERN_REPEATS_MAX = 32
/** Where other properties are allowed, a grammar branches at each character of each name. */
const NAME_LENGTH_MAX = 256
const NAMES_LENGTH_SUM_MAX = 32_768
const PATTERN_LENGTH_MAX = 256
const OPTIONAL_MAX = 64
const REPEAT_CHARACTERS = '*+?{'
const STRING_LENGTH_MAX = 65_536

const REPEAT_KEYWORDS = new Set([
  'minItems',
  'maxItems',
  'minLength',
  'maxLength',
  'minProperties',
  'maxProperties',
])

const ALTERNATIVE_KEYWORDS = new Set(['enum', 'anyOf', 'oneOf'])

const BOUND_KEYWORDS = new Set(['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'])

/** What is wrong with the schema as a sentence for the caller; undefined when nothing is. */
export function schemaProblem(schema: unknown): string | undefined {
  let nodes = 0
  const sums: Sums = { namesLength: 0, repeats: 0, alternatives: 0 }
  const visit = (value: unknown, depth: number): string | undefined => {
    if (++nodes > NODES_MAX) return `the schema has more than ${NODES_MAX} values`
    if (depth > DEPTH_MAX) return `the schema is nested deeper than ${DEPTH_MAX} levels`
    if (typeof value === 'string') return stringProblem(value)
    if (typeof value !== 'object' || value === null) return undefined
    if (Array.isArray(value)) return firstProblem(value, (item) => visit(item, depth + 1))
    const problem = rangeProblem(value) ?? optionsProblem(value)
    if (problem) return problem
    return firstProblem(Object.entries(value), ([key, item]) => {
      const problem = keywordProblem(key, item)
      if (problem) return problem
      sums.namesLength += key.length
      sums.repeats += repeatsOf(key, item)
      if (ALTERNATIVE_KEYWORDS.has(key) && Array.isArray(item)) sums.alternatives += item.length
      return sumsProblem(sums) ?? visit(item, depth + 1)
    })
  }
  const problem = visit(schema, 0)
  if (problem) return problem
  return hasEndlessReference(schema) ? 'the schema refers to itself with nothing in between' : undefined
}

interface Sums {
  namesLength: number
  repeats: number
  alternatives: number
}

function sumsProblem({ namesLength, repeats, alternatives }: Sums): string | undefined {
  if (namesLength > NAMES_LENGTH_SUM_MAX)
    return `the names in the schema have more than ${NAMES_LENGTH_SUM_MAX} characters together`
  if (repeats > REPEATS_SUM_MAX)
    return `the lengths and counts in the schema add up to more than ${REPEATS_SUM_MAX}`
  if (alternatives > ALTERNATIVES_SUM_MAX)
    return `the schema has more than ${ALTERNATIVES_SUM_MAX} values and schemas to choose from`
  return undefined
}

function repeatsOf(keyword: string, value: unknown): number {
  if (REPEAT_KEYWORDS.has(keyword) && typeof value === 'number') return value
  return keyword === 'pattern' && typeof value === 'string' ? countedRepeats(value) : 0
}

function firstProblem<T>(
  items: readonly T[],
  problemOf: (item: T) => string | undefined,
): string | undefined {
  for (const item of items) {
    const problem = problemOf(item)
    if (problem) return problem
  }
  return undefined
}

function stringProblem(value: string): string | undefined {
  if (value.length > STRING_LENGTH_MAX) return `a string in the schema is longer than ${STRING_LENGTH_MAX}`
  return value.isWellFormed() ? undefined : 'a string in the schema is not well-formed Unicode'
}

function keywordProblem(key: string, value: unknown): string | undefined {
  if (key === '__proto__') return "the schema has a key '__proto__'"
  if (REPEAT_KEYWORDS.has(key) && typeof value === 'number' && !(value >= 0 && value <= REPEATS_MAX)) {
    return `${key} must be between 0 and ${REPEATS_MAX}`
  }
  if (BOUND_KEYWORDS.has(key) && typeof value === 'number' && !(Math.abs(value) <= Number.MAX_SAFE_INTEGER)) {
    return `${key} must be within the safe integers`
  }
  if (key === 'pattern' && typeof value === 'string') return patternProblem(value)
  if (key === '$ref' && typeof value === 'string' && !value.startsWith('#')) {
    return "$ref must point into the schema itself, such as '#/$defs/name'"
  }
  if (key.length > NAME_LENGTH_MAX) return `a name in the schema is longer than ${NAME_LENGTH_MAX} characters`
  return stringProblem(key)
}

const RANGES = [
  ['minItems', 'maxItems'],
  ['minLength', 'maxLength'],
  ['minProperties', 'maxProperties'],
  ['minimum', 'maximum'],
] as const

/** A range that is upside down is counted up to the end of all numbers by some engines. */
function rangeProblem(schema: object): string | undefined {
  const fields = schema as Readonly<Record<string, unknown>>
  const bad = RANGES.find(([low, high]) => {
    const [from, to] = [fields[low], fields[high]]
    return typeof from === 'number' && typeof to === 'number' && from > to
  })
  return bad && `${bad[0]} is larger than ${bad[1]}`
}

/** The properties that may be left out stand in a grammar in every combination of what follows what. */
function optionsProblem(schema: object): string | undefined {
  const { properties, required } = schema as { properties?: unknown; required?: unknown }
  if (typeof properties !== 'object' || properties === null) return undefined
  const needed = new Set(Array.isArray(required) ? required : [])
  const optional = Object.keys(properties).filter((name) => !needed.has(name)).length
  return optional > OPTIONAL_MAX
    ? `an object has more than ${OPTIONAL_MAX} properties that are not required`
    : undefined
}

/** A repeat of a repeat can match one text in exponentially many ways, and a grammar follows them all. */
function repeatsNest(pattern: string): boolean {
  const open: boolean[] = [false]
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? ''
    if (character === '\\') at++
    else if (character === '(') open.push(false)
    else if (character === ')') {
      const repeatsInside = open.pop() ?? false
      if (repeatsInside && REPEAT_CHARACTERS.includes(pattern[at + 1] ?? ' ')) return true
      if (repeatsInside) open[open.length - 1] = true
    } else if (REPEAT_CHARACTERS.includes(character)) open[open.length - 1] = true
  }
  return false
}

/** Counted repeats multiply when they are nested; their product bounds the grammar. */
function countedRepeats(pattern: string): number {
  let product = 1
  for (const [, low = '1', high = low] of pattern.matchAll(COUNTED_REPEAT))
    product *= Math.max(1, Number(low), Number(high))
  return product
}

const COUNTED_REPEAT = /\{(\d+)(?:,(\d*))?\}/g

function patternProblem(pattern: string): string | undefined {
  if (pattern.length > PATTERN_LENGTH_MAX) return `pattern is longer than ${PATTERN_LENGTH_MAX}`
  for (const [, low = '1', high = low] of pattern.matchAll(COUNTED_REPEAT))
    if (high !== '' && Number(low) > Number(high)) return 'a counted repeat of pattern is upside down'
  if (countedRepeats(pattern) > REPEATS_MAX)
    return `the counted repeats of pattern multiply to more than ${REPEATS_MAX}`
  if ((pattern.match(/[*+?{]/g) ?? []).length > PATTERN_REPEATS_MAX)
    return `pattern has more than ${PATTERN_REPEATS_MAX} repeats`
  return repeatsNest(pattern) ? 'pattern repeats something that holds a repeat' : undefined
}
