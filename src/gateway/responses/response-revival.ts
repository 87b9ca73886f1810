import type { InputItem } from '../../contracts/openai/response-items.ts'
import { ResponseRequest } from '../../contracts/openai/responses.ts'
import type { Clock } from '../../core/clock.ts'
import type { StreamEvent } from '../../streams/stream-event.ts'
import type { Answer } from '../dispatch/exchange.ts'
import type { Revive } from '../streaming/takeover.ts'
import { toChatRequest } from './chat-request.ts'
import type { ResponseKeeper } from './response-keeper.ts'
import { newResponse } from './response-object.ts'
import { ResponseScribe } from './response-scribe.ts'

/** What the stream of a response keeps for whoever goes on with it. */
export interface ResponseAgain {
  readonly request: ResponseRequest
  /** Everything that was said before it. */
  readonly conversation: readonly InputItem[]
  /** The part of it that came with the request. */
  readonly input: readonly InputItem[]
  readonly createdAtMs: number
}

/** A response that another gateway began. */
export function responseRevival(keeper: ResponseKeeper, clock: Clock): Revive {
  return (again, { id, tenant, projectId }, { identity: { actor } }) => {
    const { request, conversation, input, createdAtMs, ...origin } = again as ResponseAgain & Origin
    const parsed = ResponseRequest.parse(request)
    const response = newResponse(parsed, { id, createdAtMs })
    const file = { identity: { organisationId: tenant, projectId, actor }, input }
    const record = keeper.record(file, response)
    return {
      ...origin,
      request: toChatRequest(parsed, conversation),
      chunks: textChunks,
      scribe: (writer) =>
        new ResponseScribe({
          writer,
          response,
          now: () => clock.now(),
          begun: () => {},
          keep: (ended) => record.end(ended),
        }),
      // Not before: a record that nobody ends would be told as in progress for ever.
      begun: () => record.takeOver(response),
    }
  }
}

interface Origin {
  readonly route: string
  readonly user: string | undefined
}

/** What stands around the text of one message says nothing by itself. */
const AROUND_TEXT = ['created', 'queued', 'in_progress', 'output_item.added', 'content_part.added']

/** The chunks that these events were made of, of a response that is plain text so far. */
function textChunks(soFar: readonly StreamEvent[]): readonly Answer[] | undefined {
  const chunks: Answer[] = []
  for (const { data } of soFar) {
    const event = (JSON.parse(data) as { readonly data?: Answer }).data
    const type = String(event?.['type']).replace(/^response\./, '')
    if (type === 'in_progress') chunks.push(chunkOf({ role: 'assistant' }))
    else if (type === 'output_text.delta') chunks.push(chunkOf({ content: event?.['delta'] }))
    else if (!AROUND_TEXT.includes(type)) return undefined
  }
  return chunks
}

function chunkOf(delta: Answer): Answer {
  return { choices: [{ index: 0, delta, finish_reason: null }] }
}
