import { type Random, seededRandom } from '../../src/core/random.ts'
import { HOSTILE_SCHEMAS } from './hostile-schemas.ts'
import { CONTENT_TYPES, EXTRA_KEYS, HOSTILE_MESSAGES, HOSTILE_VALUES, raw } from './hostile-values.ts'
import { type JsonObject, type JsonValue, validBodies } from './valid-bodies.ts'

export const ROUTES = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/tokenize',
  '/v1/responses',
] as const
export type Route = (typeof ROUTES)[number]

export interface MutatedRequest {
  readonly route: Route
  readonly seed: number
  /** Together with route and seed it says everything, so that one request can be made again. */
  readonly number: number
  /** What was done to a valid body, in order. */
  readonly mutations: readonly string[]
  readonly contentType: string | readonly string[] | undefined
  readonly body: Buffer
}

/** A valid request with one to three things wrong; now and then it is still valid. */
export function mutatedRequest(route: Route, seed: number, number: number): MutatedRequest {
  const random = seededRandom(seed * 1_000_003 + number * 17 + ROUTES.indexOf(route))
  const draft: Draft = {
    root: { body: pick(random, validBodies(route))() },
    text: (text) => text,
    bytes: (bytes) => bytes,
    contentType: 'application/json',
  }
  const mutations = Array.from({ length: 1 + below(random, 3) }, () => {
    const name = pickWeighted(random)
    return `${name} ${MUTATIONS[name].apply(draft, random, route)}`.trim()
  })
  const text = draft.text(write(draft.root.body))
  return {
    route,
    seed,
    number,
    mutations,
    contentType: draft.contentType,
    body: draft.bytes(Buffer.from(text)),
  }
}

interface Draft {
  readonly root: { body: JsonValue }
  /** What happens to the text, and then to the bytes, once the value has been written. */
  text: (text: string) => string
  bytes: (bytes: Buffer) => Buffer
  contentType: string | readonly string[] | undefined
}

interface Mutation {
  readonly weight: number
  /** Returns in words what it did. */
  apply(draft: Draft, random: Random, route: Route): string
}

const DEEP = 10_000
const WIDE = 20_000
const LONG = 5_000_000

const MUTATIONS = {
  replace: {
    weight: 30,
    apply: ({ root }, random) => {
      const place = pick(random, placesIn(root))
      const value = structuredClone(pick(random, HOSTILE_VALUES))
      place.holder[place.key] = value
      return `${place.path} by ${shown(value)}`
    },
  },
  remove: {
    weight: 10,
    apply: ({ root }, random) => {
      const place = pick(random, placesIn(root))
      if (Array.isArray(place.holder)) place.holder.splice(Number(place.key), 1)
      else if (place.path !== 'body') delete place.holder[place.key]
      return place.path
    },
  },
  extra: {
    weight: 12,
    apply: ({ root }, random) => {
      const objects = placesIn(root).filter(({ value }) => isObject(value))
      const place = objects.length > 0 ? pick(random, objects) : undefined
      const key = pick(random, EXTRA_KEYS)
      const value = structuredClone(pick(random, HOSTILE_VALUES))
      if (place) setOwn(place.value as JsonObject, key, value)
      return `${place?.path}.${shown(key)} = ${shown(value)}`
    },
  },
  schema: {
    weight: 12,
    apply: ({ root }, random) => {
      const schema = pick(random, HOSTILE_SCHEMAS)
      const schemas = placesIn(root).filter(({ key }) => key === 'parameters' || key === 'schema')
      const place = schemas.length > 0 ? pick(random, schemas) : undefined
      // Not a structured clone: that keeps one object that stands in many places one, and a later change would be
      // in all of them.
      if (place) place.holder[place.key] = JSON.parse(JSON.stringify(schema))
      return `${place?.path} = ${shown(schema)}`
    },
  },
  message: {
    weight: 10,
    apply: ({ root }, random) => {
      const list = isObject(root.body) ? (root.body['messages'] ?? root.body['input']) : undefined
      if (!Array.isArray(list)) return ''
      const message = pick(random, HOSTILE_MESSAGES)
      list.splice(below(random, list.length + 1), below(random, 2), structuredClone(message))
      return shown(message)
    },
  },
  deep: {
    weight: 3,
    apply: ({ root }, random) => {
      const place = pick(random, placesIn(root))
      const [open, close] = pick(random, [
        ['[', ']'],
        ['{"a":', '}'],
      ] as const)
      place.holder[place.key] = raw(`${open.repeat(DEEP)}1${close.repeat(DEEP)}`)
      return place.path
    },
  },
  wide: {
    weight: 3,
    apply: ({ root }, random) => {
      const place = pick(random, placesIn(root))
      const item = pick(random, [0, 'a', null, {}] as const)
      place.holder[place.key] =
        random.uniform() < 0.5
          ? Array.from({ length: WIDE }, () => structuredClone(item))
          : Object.fromEntries(Array.from({ length: WIDE }, (_, at) => [`k${at}`, structuredClone(item)]))
      return place.path
    },
  },
  long: {
    weight: 0.6,
    apply: ({ root }, random) => {
      const texts = placesIn(root).filter(({ value }) => typeof value === 'string')
      const place = texts.length > 0 ? pick(random, texts) : pick(random, placesIn(root))
      const unit = pick(random, ['x', 'a b ', '\u0000', '😀', '\\"'])
      place.holder[place.key] = unit.repeat(LONG / (JSON.stringify(unit).length - 2))
      return place.path
    },
  },
  'twice the key': {
    weight: 5,
    apply: (draft, random) => {
      const value = structuredClone(pick(random, HOSTILE_VALUES))
      draft.text = after(draft.text, (text) => {
        const keys = [...text.matchAll(/"[a-z_]{1,24}":/g)]
        if (keys.length === 0) return text
        const key = pick(random, keys)
        return `${text.slice(0, key.index)}${key[0]}${write(value)},${text.slice(key.index)}`
      })
      return shown(value)
    },
  },
  truncated: {
    weight: 4,
    apply: (draft, random) => {
      const share = random.uniform()
      draft.bytes = after(draft.bytes, (bytes) => bytes.subarray(0, Math.floor(bytes.length * share)))
      return share.toFixed(2)
    },
  },
  'flipped bytes': {
    weight: 6,
    apply: (draft, random) => {
      draft.bytes = after(draft.bytes, (bytes) => {
        const flipped = Buffer.from(bytes)
        for (let times = below(random, 4); times >= 0 && flipped.length > 0; times--) {
          const at = below(random, flipped.length)
          flipped[at] = (flipped[at] ?? 0) ^ (1 << below(random, 8))
        }
        return flipped
      })
      return ''
    },
  },
  'bytes that are no text': {
    weight: 3,
    apply: (draft, random) => {
      const bad = pick(random, [[0xed, 0xa0, 0x80], [0xff], [0xc0, 0xaf], [0xf5, 0x80, 0x80, 0x80], [0]])
      draft.bytes = after(draft.bytes, (bytes) => {
        const at = below(random, bytes.length + 1)
        return Buffer.concat([bytes.subarray(0, at), Buffer.from(bad), bytes.subarray(at)])
      })
      return shown(bad)
    },
  },
  'another form': {
    weight: 2,
    apply: (draft, random) => {
      const form = pick(random, ['utf-16', 'byte order mark', 'space before', 'text after'] as const)
      draft.text = after(draft.text, (text) => (form === 'text after' ? `${text}{}` : text))
      draft.bytes = after(draft.bytes, (bytes) => {
        if (form === 'utf-16') return Buffer.from(bytes.toString('utf8'), 'utf16le')
        if (form === 'byte order mark') return Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes])
        return form === 'space before' ? Buffer.concat([Buffer.alloc(10_000, ' '), bytes]) : bytes
      })
      return form
    },
  },
  'content type': {
    weight: 4,
    apply: (draft, random) => {
      draft.contentType = pick(random, CONTENT_TYPES)
      return shown(draft.contentType)
    },
  },
  'body of another route': {
    weight: 2,
    apply: (draft, random, route) => {
      const other = pick(
        random,
        ROUTES.filter((one) => one !== route),
      )
      draft.root.body = pick(random, validBodies(other))()
      return other
    },
  },
} satisfies Record<string, Mutation>

type MutationName = keyof typeof MUTATIONS

function write(value: JsonValue): string {
  return (JSON.stringify(value) ?? '').replaceAll(/"@@(.*?)@@"/gs, (_, text: string) =>
    text.replaceAll('\\"', '"'),
  )
}

interface Place {
  readonly holder: { [key: string | number]: JsonValue }
  readonly key: string | number
  readonly value: JsonValue
  readonly path: string
}

/** Everything in the body that can be changed, the body itself first. */
function placesIn(root: Draft['root']): Place[] {
  const places: Place[] = []
  const visit = (holder: Place['holder'], key: string | number, path: string) => {
    const value = holder[key] ?? null
    places.push({ holder, key, value, path })
    if (typeof value !== 'object' || value === null || places.length > 5_000) return
    for (const inner of Array.isArray(value) ? value.keys() : Object.keys(value)) {
      visit(value as Place['holder'], inner, `${path}.${inner}`)
    }
  }
  visit(root, 'body', 'body')
  return places
}

/** As an own field also where JavaScript would take it for the prototype. */
function setOwn(object: JsonObject, key: string, value: JsonValue): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function after<T>(first: (value: T) => T, second: (value: T) => T): (value: T) => T {
  return (value) => second(first(value))
}

function below(random: Random, bound: number): number {
  return Math.floor(random.uniform() * bound)
}

function pick<T>(random: Random, items: readonly T[]): T {
  return items[below(random, items.length)] as T
}

const WEIGHTS = (Object.keys(MUTATIONS) as MutationName[]).map(
  (name) => [name, MUTATIONS[name].weight] as const,
)
const WEIGHT_SUM = WEIGHTS.reduce((sum, [, weight]) => sum + weight, 0)

function pickWeighted(random: Random): MutationName {
  let left = random.uniform() * WEIGHT_SUM
  for (const [name, weight] of WEIGHTS) {
    left -= weight
    if (left < 0) return name
  }
  return 'replace'
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 120)
}
