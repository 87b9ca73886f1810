import type { Identity } from '../../contracts/auth.ts'
import type { InputItem } from '../../contracts/openai/response-items.ts'
import type { ResponseLink, ResponsesStore } from '../../contracts/responses-store.ts'
import { HelixError } from '../../core/errors.ts'

const OURS = /^resp_[0-9a-f]{32}$/

/**
 * What was said up to a response and in it, the oldest first.
 * @throws HelixError `previous_response_not_found` also when one before it is not there any more,
 *   `context_length_exceeded`, `invalid_value` when it has no end to be continued from, `storage_unavailable`
 */
export async function conversationUpTo(
  store: ResponsesStore,
  { organisationId, projectId }: Identity,
  id: string,
): Promise<readonly InputItem[]> {
  if (!OURS.test(id)) throw previousNotFound(id)
  const { links, extent } = await store.chain({ organisationId, projectId, id })
  const last = links.at(-1)
  if (!last || extent === 'broken') throw previousNotFound(id)
  if (extent === 'long') {
    throw new HelixError(
      'context_length_exceeded',
      'The responses before this one are more than are ever read. Begin anew with a summary of them.',
      { param: 'previous_response_id' },
    )
  }
  if (last.status !== 'completed' && last.status !== 'incomplete') {
    throw new HelixError('invalid_value', `Response '${id}' is ${last.status}: it cannot be continued.`, {
      param: 'previous_response_id',
    })
  }
  return links.flatMap(itemsOf)
}

export function previousNotFound(id: string): HelixError {
  const message = `Previous response with id '${id}' not found.`
  return new HelixError('previous_response_not_found', message, { param: 'previous_response_id' })
}

/** Both were items when they were kept. */
function itemsOf({ input, output }: ResponseLink): readonly InputItem[] {
  return [...(JSON.parse(input) as InputItem[]), ...(JSON.parse(output) as InputItem[])]
}
