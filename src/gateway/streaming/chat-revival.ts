import { ChatRequest } from '../../contracts/openai/chat.ts'
import type { StreamEvent } from '../../streams/stream-event.ts'
import type { Answer } from '../dispatch/exchange.ts'
import { ChatScribe } from './chat-scribe.ts'
import type { Revival } from './takeover.ts'

/** What a chat stream keeps for whoever goes on with it. */
export interface ChatAgain {
  readonly request: ChatRequest
  readonly route: string
  readonly user: string | undefined
}

/** A chat stream that another gateway began. */
export function chatRevival(again: unknown): Revival {
  const { request, route, user } = again as ChatAgain
  return {
    request: ChatRequest.parse(request),
    route,
    user,
    chunks: chatChunks,
    scribe: (writer) => new ChatScribe(writer),
  }
}

/** The chunks that these events were made of. */
function chatChunks(soFar: readonly StreamEvent[]): readonly Answer[] | undefined {
  const [first] = soFar
  if (!first) return []
  if (first.kind !== 'start') return undefined
  const { response_id: id, model, created, system_fingerprint } = JSON.parse(first.data) as Answer
  const head = { id, object: 'chat.completion.chunk', created, model, system_fingerprint }
  return soFar.map(({ kind, data }) => {
    const { text, choice = 0, data: chunk } = JSON.parse(data) as Answer
    if (kind === 'event') return chunk as Answer
    const delta = kind === 'start' ? { role: 'assistant' } : { content: text }
    return { ...head, choices: [{ index: choice, delta, finish_reason: null }] }
  })
}
