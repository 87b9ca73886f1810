import { HelixError } from '../../core/errors.ts'
import { withoutItemLogprobs } from './response-object.ts'

export interface ListedItem {
  readonly id: string
  readonly type: string
}

export interface PageWish {
  readonly limit: number
  readonly order: 'asc' | 'desc'
  /** The id of the item before. */
  readonly after: string | undefined
  readonly includesLogprobs: boolean
}

/** A page of a list of items, as the API lists things. @throws HelixError `invalid_value` when `after` is none of them */
export function pageOf(items: readonly ListedItem[], wish: PageWish) {
  const { limit, order, after, includesLogprobs } = wish
  const ordered = order === 'asc' ? items : items.toReversed()
  const at = after === undefined ? -1 : ordered.findIndex(({ id }) => id === after)
  if (after !== undefined && at < 0) {
    throw new HelixError('invalid_value', "Invalid value: 'after': there is no such item.", {
      param: 'after',
    })
  }
  const data = ordered.slice(at + 1, at + 1 + limit)
  return {
    object: 'list',
    data: includesLogprobs ? data : data.map(withoutItemLogprobs),
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: at + 1 + limit < ordered.length,
  }
}
