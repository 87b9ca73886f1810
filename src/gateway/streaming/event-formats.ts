import { DONE_FRAME, frame } from '../../contracts/sse.ts'
import type { Stream } from '../../streams/stream.ts'
import type { StreamEvent } from '../../streams/stream-event.ts'
import type { Answer } from '../dispatch/exchange.ts'
import type { EventFormat } from './stream-reply.ts'

/** As the interface has it that the stream was asked for by. */
export function formatOf(stream: Stream): EventFormat {
  return stream.head.kind === 'chat' ? new ChatFormat(stream) : new ResponseFormat(stream)
}

/** Events of the Responses API are whole in a stream; each gets its name and its place. */
class ResponseFormat implements EventFormat {
  readonly closing = ''
  readonly endsFailed = true

  constructor(private readonly stream: Stream) {}

  frames({ seq, data: text }: StreamEvent): string {
    const { data, error } = JSON.parse(text) as { data?: { type: string }; error?: Answer }
    // It failed before it was a response: the client was told nothing but that it waits.
    const event = data ?? { ...error, type: 'error', sequence_number: seq - 1 }
    return `event: ${event.type}\nid: ${this.stream.head.epoch}/${seq}\n${frame(event)}`
  }
}

interface Start {
  readonly response_id: unknown
  readonly model: unknown
  readonly created: unknown
  readonly system_fingerprint?: unknown
}

/** Makes chunks of a chat completion again of the text that is left of them in a stream. */
class ChatFormat implements EventFormat {
  readonly endsFailed = false
  private known: Answer | undefined

  constructor(private readonly stream: Stream) {}

  get closing(): string {
    return `id: ${this.stream.head.epoch}/${this.stream.lastSeq}\n${DONE_FRAME}`
  }

  frames(event: StreamEvent): string {
    const id = `id: ${this.stream.head.epoch}/${event.seq}\n`
    return this.chunks(event)
      .map((chunk) => id + (chunk === undefined ? DONE_FRAME : frame(chunk)))
      .join('')
  }

  /** Undefined is the end. */
  private chunks({ kind, data }: StreamEvent): readonly (object | undefined)[] {
    const fields = JSON.parse(data) as Answer
    switch (kind) {
      case 'start':
        return [this.chunk(0, { role: 'assistant', content: null })]
      case 'delta':
        return [this.chunk(Number(fields['choice'] ?? 0), { content: fields['text'] })]
      case 'event':
        return [fields['data'] as object]
      case 'end': {
        const { usage } = fields
        const asked = this.stream.head.includeUsage && usage !== null && usage !== undefined
        return asked ? [{ ...this.head, choices: [], usage }, undefined] : [undefined]
      }
      case 'error':
        return []
    }
  }

  /** Looked for when there is something to say: only whoever reads a stream may look at its beginning. */
  private get head(): Answer {
    this.known ??= headOf(startOf(this.stream))
    return this.known
  }

  private chunk(index: number, delta: object): object {
    return { ...this.head, choices: [{ index, delta, finish_reason: null }] }
  }
}

function headOf({ response_id: id, model, created, system_fingerprint }: Start): Answer {
  return { id, object: 'chat.completion.chunk', created, model, system_fingerprint }
}

/** What a stream said of itself at its beginning; for who comes so late that it is not kept any more, what else is known. */
function startOf(stream: Stream): Start {
  const { id, model, createdAtMs } = stream.head
  const cursor = stream.open(0, { ready: () => {}, lost: () => {} })
  const first = typeof cursor === 'string' ? undefined : cursor.peek()
  if (typeof cursor !== 'string') cursor.close()
  if (first?.kind === 'start') return JSON.parse(first.data) as Start
  return { response_id: `chatcmpl-${id}`, model, created: Math.floor(createdAtMs / 1000) }
}
