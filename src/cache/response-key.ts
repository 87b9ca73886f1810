import { hash } from 'node:crypto'

/** Everything that two requests must have in common to share an answer. */
export interface KeyParts {
  readonly tenant: string
  /** Within the tenant: the project, or the whole organisation. */
  readonly scope: string
  readonly model: string
  readonly revision: string
  readonly route: string
  /** See `canonicalRequest`. */
  readonly request: string
}

/**
 * The key of an answer: 43 characters that say nothing of what went in. Each part is preceded by its length, so that no
 * text can pass for the end of its part and the beginning of the next.
 */
export function responseKey({ tenant, scope, model, revision, route, request }: KeyParts): string {
  const parts = [tenant, scope, model, revision, route, request]
  return hash('sha256', parts.map((part) => `${part.length}:${part}`).join(''), 'base64url')
}

/** What says how an answer is carried, or who asked, and nothing of what the answer is. */
const SHAPELESS: ReadonlySet<string> = new Set([
  'model',
  'stream',
  'stream_options',
  'user',
  'store',
  'service_tier',
])

/** Whose order of keys an engine sees: it writes the properties of an answer in the order of the schema's. */
const ORDERED: ReadonlySet<string> = new Set(['parameters', 'schema'])

/**
 * The fields of a parsed request that shape its answer, as JSON with sorted keys: the same text for every spelling of the
 * same request, and another one for every other request. What is null or undefined is as good as absent. Texts are taken
 * as they are, without Unicode normalisation: a model reads other tokens in other bytes. JSON schemas keep the order of
 * their keys, for the engine is handed them in that order and may answer otherwise in another.
 */
export function canonicalRequest(request: object): string {
  return sorted(request, SHAPELESS)
}

const NOTHING: ReadonlySet<string> = new Set()

function sorted(value: unknown, without: ReadonlySet<string>): string {
  if (Array.isArray(value)) return `[${value.map((one) => sorted(one, NOTHING)).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const fields = value as Readonly<Record<string, unknown>>
  let text = ''
  for (const name of Object.keys(fields).sort()) {
    const field = fields[name]
    if (field === undefined || field === null || without.has(name)) continue
    const written = ORDERED.has(name) ? JSON.stringify(field) : sorted(field, NOTHING)
    text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${written}`
  }
  return `{${text}}`
}
