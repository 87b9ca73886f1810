import type { InputItem } from '../../contracts/openai/response-items.ts'
import type { ResponseRequest } from '../../contracts/openai/responses.ts'
import type { ResponsesStore } from '../../contracts/responses-store.ts'
import type { Clock } from '../../core/clock.ts'
import { chatExchange } from '../dispatch/chat-exchange.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import type { StartedStream, StreamRequest, StreamRuns } from '../streaming/stream-runs.ts'
import { toChatRequest } from './chat-request.ts'
import { conversationUpTo } from './conversation.ts'
import type { ResponseKeeper } from './response-keeper.ts'
import { inputItems, newResponse, type ResponseObject } from './response-object.ts'
import type { ResponseAgain } from './response-revival.ts'
import { ResponseScribe } from './response-scribe.ts'

export interface ResponseRunsParts {
  readonly runs: StreamRuns
  readonly store: ResponsesStore
  readonly keeper: ResponseKeeper
  readonly clock: Clock
}

/** A response that somebody wants, whichever way they came. */
export interface AskedResponse
  extends Omit<StreamRequest, 'exchange' | 'kind' | 'includeUsage' | 'scribe' | 'user' | 'again'> {
  readonly request: ResponseRequest
  /** What was said up to a response that only the asker remembers; undefined for one that is to be looked for. */
  remembered?(id: string): readonly InputItem[] | undefined
}

export interface StartedResponse {
  /** As it was before anything was made. */
  readonly response: ResponseObject
  readonly stream: StartedStream
  /** Everything that was said before it. */
  readonly conversation: readonly InputItem[]
}

/** Starts responses: as chat completions, with all that those are subject to, written down as events of the Responses API. */
export class ResponseRuns {
  constructor(private readonly parts: ResponseRunsParts) {}

  /** @throws HelixError as `StreamRuns.start` and `conversationUpTo` */
  async start(asked: AskedResponse): Promise<StartedResponse> {
    const { runs, keeper, clock } = this.parts
    const { request, id, identity } = asked
    const input = inputItems(request.input, id)
    const conversation = [...(await this.earlier(asked)), ...input]
    const exchange = responseExchange(request, conversation)
    const createdAtMs = clock.now()
    const response = newResponse(request, { id, createdAtMs })
    const again: ResponseAgain = { request, conversation, input, createdAtMs }
    const record = keeper.record({ identity, input }, response)
    await record.open(response)
    try {
      const stream = await runs.start({
        ...asked,
        kind: 'response',
        includeUsage: true,
        again,
        exchange,
        user: request.user ?? request.safety_identifier ?? undefined,
        scribe: (writer) =>
          new ResponseScribe({
            writer,
            response,
            now: () => clock.now(),
            begun: (begun) => record.progress(begun),
            keep: (ended) => record.end(ended),
          }),
      })
      return { response, stream, conversation }
    } catch (reason) {
      await record.drop()
      throw reason
    }
  }

  private async earlier({ request, identity, remembered }: AskedResponse): Promise<readonly InputItem[]> {
    const { previous_response_id: id } = request
    if (id == null) return []
    return remembered?.(id) ?? (await conversationUpTo(this.parts.store, identity, id))
  }
}

/** The chat completion that makes a response; what it may be refused for has the names of the Responses API. */
function responseExchange(request: ResponseRequest, conversation: readonly InputItem[]): Exchange {
  const exchange = chatExchange(toChatRequest(request, conversation))
  const { schemaParam } = exchange
  return {
    ...exchange,
    inputParam: 'input',
    schemaParam: schemaParam === 'response_format.json_schema.schema' ? 'text.format.schema' : schemaParam,
  }
}
