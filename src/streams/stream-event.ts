/** What an event is to whoever carries it; `delta` is plain text and may be joined with its neighbours. */
export type StreamEventKind = 'start' | 'delta' | 'event' | 'end' | 'error'

/** One event of a stream, as it is kept, sent, and sent again. */
export interface StreamEvent {
  /** 1, 2, 3, ... given once by the producer. */
  readonly seq: number
  readonly kind: StreamEventKind
  /** A JSON object as text: the fields of its message beside `type`, `stream`, `epoch` and `seq`. */
  readonly data: string
}

/** Why what somebody has seen cannot be continued. */
export type Unrecoverable = 'not_found' | 'expired' | 'epoch' | 'gap'

/** Nothing comes after it. */
export function isLast({ kind }: StreamEvent): boolean {
  return kind === 'end' || kind === 'error'
}
