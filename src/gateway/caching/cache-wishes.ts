import type { IncomingHttpHeaders } from 'node:http'
import type { CacheWish } from '../../cache/cache-rules.ts'
import { duration } from '../../config/quantities.ts'
import { HelixError } from '../../core/errors.ts'

/** What a request says about the cache, in its headers. */
export interface CacheWishes {
  readonly wish: CacheWish | undefined
  readonly ttlMs: number | undefined
  readonly tags: readonly string[]
}

export const CACHE_HEADER = 'x-helixflow-cache'
const TTL_HEADER = 'x-helixflow-cache-ttl'
const TAGS_HEADER = 'x-helixflow-cache-tags'

const WISHES: readonly CacheWish[] = ['use', 'refresh', 'bypass']
const NONE: CacheWishes = { wish: undefined, ttlMs: undefined, tags: [] }
const TAGS_MAX = 16
const ttl = duration()

/** What a tag looks like. */
export const TAG = /^[\w.-]{1,64}$/

/** @throws HelixError `invalid_value` */
export function readWishes(headers: IncomingHttpHeaders): CacheWishes {
  const { [CACHE_HEADER]: wish, [TTL_HEADER]: ttlText, [TAGS_HEADER]: tags } = headers
  if (wish === undefined && ttlText === undefined && tags === undefined) return NONE
  return { wish: readWish(wish), ttlMs: readTtl(ttlText), tags: readTags(tags) }
}

type Header = string | string[] | undefined

function readWish(given: Header): CacheWish | undefined {
  const wish = WISHES.find((one) => one === given)
  if (given === undefined || wish !== undefined) return wish
  throw invalid(CACHE_HEADER, `must be one of ${WISHES.join(', ')}`)
}

function readTtl(given: Header): number | undefined {
  if (given === undefined) return undefined
  const { data, success } = ttl.safeParse(given)
  if (success) return data
  throw invalid(TTL_HEADER, 'must be a duration such as 30s, 10m or 1h')
}

function readTags(given: Header): readonly string[] {
  if (given === undefined) return []
  const tags = [
    ...new Set(
      String(given)
        .split(',')
        .map((tag) => tag.trim()),
    ),
  ]
  if (tags.length <= TAGS_MAX && tags.every((tag) => TAG.test(tag))) return tags
  throw invalid(TAGS_HEADER, `must be at most ${TAGS_MAX} words of letters, digits, '.', '_' and '-'`)
}

function invalid(param: string, problem: string): HelixError {
  return new HelixError('invalid_value', `Invalid value: '${param}': ${problem}.`, { param })
}
