import type { ChatChunk, ChatEvent, ChatUsage, ResponseEvent } from './generation.ts'
import type { StreamMessage } from './messages.ts'

/** A message as the event of a chat; undefined for one that is no event of its own. */
export function chatEvent(message: StreamMessage): ChatEvent | undefined {
  const { seq } = message
  switch (message.type) {
    case 'stream.start': {
      const { response_id: responseId, model, created } = message
      return { type: 'start', seq, responseId, model, created }
    }
    case 'stream.delta':
      return { type: 'text', seq, text: message.text, choice: message.choice ?? 0 }
    case 'stream.event':
      return { type: 'chunk', seq, chunk: message.data as ChatChunk }
    case 'stream.end': {
      const usage = (message.usage ?? undefined) as ChatUsage | undefined
      return { type: 'end', seq, finishReason: message.finish_reason ?? undefined, usage }
    }
    case 'stream.error':
      return undefined
  }
}

/** A message as the event of the Responses API that it carries. */
export function responseEvent(message: StreamMessage): ResponseEvent | undefined {
  return message.type === 'stream.delta' ? undefined : (message.data as ResponseEvent | undefined)
}

/** What a message adds to the text of the first choice. */
export function textOf(message: StreamMessage): string {
  if (message.type === 'stream.event') return message.text ?? ''
  return message.type === 'stream.delta' && (message.choice ?? 0) === 0 ? message.text : ''
}
