import type { ServerMessage } from '../../contracts/realtime.ts'
import type { StreamHead } from '../../streams/stream.ts'
import type { StreamEvent } from '../../streams/stream-event.ts'
import type { TopicEvent } from '../../streams/topics.ts'

/** A message of the server as the text of its frame. */
export function messageText(message: ServerMessage): string {
  return JSON.stringify(message)
}

/** An event of a stream: its own fields are text already, and stay as they are. */
export function eventText({ id, epoch }: StreamHead, { seq, kind, data }: StreamEvent): string {
  const fields = data.length > 2 ? `,${data.slice(1)}` : '}'
  return `{"type":"stream.${kind}","stream":"${id}","epoch":"${epoch}","seq":${seq}${fields}`
}

/** Adjacent pieces of text of one choice as one message that stands for all of them. */
export function joinedText(
  { id: stream, epoch }: StreamHead,
  { seq, lastSeq, text, choice }: JoinedDeltas,
): string {
  return JSON.stringify({ type: 'stream.delta', stream, epoch, seq, seq_to: lastSeq, text, choice })
}

export interface JoinedDeltas {
  readonly seq: number
  readonly lastSeq: number
  readonly text: string
  readonly choice: number | undefined
}

export function topicText({ topic, epoch, seq, data }: TopicEvent): string {
  return `{"type":"event","topic":"${topic}","epoch":"${epoch}","seq":${seq},"data":${data}}`
}
