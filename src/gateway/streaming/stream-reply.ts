import type { ServerResponse } from 'node:http'
import { HelixError } from '../../core/errors.ts'
import type { Cursor, Reader, Stream } from '../../streams/stream.ts'
import { isLast, type StreamEvent, type Unrecoverable } from '../../streams/stream-event.ts'
import { EventStream } from '../dispatch/event-stream.ts'
import { failureOf, unrecoverable } from './stream-failure.ts'

/** How the events of a stream look as server-sent events. */
export interface EventFormat {
  frames(event: StreamEvent): string
  /** For a reader that has the last event already. */
  readonly closing: string
  /** Whether a failure is an event like others, after which the answer ends; else the connection is cut after it. */
  readonly endsFailed: boolean
}

export interface StreamReplyParts {
  readonly stream: Stream
  /** What the client has; 0: nothing. */
  readonly afterSeq: number
  readonly epoch?: string
  readonly response: ServerResponse
  readonly format: EventFormat
  /** It is read from here on, until its reader may not any more. Returns what ends that. */
  reads(end: (reason: HelixError) => void): () => void
  /** Asked for once, when the answer begins. */
  headers(): Readonly<Record<string, string>>
}

/** What goes out in one write; the client gets it sooner than if each event went by itself. */
const WRITE_LENGTH_MAX = 64 * 1024

/**
 * A stream as an HTTP answer of server-sent events. Whoever reads slowly is given events as they take them, and loses the
 * rest only when the stream keeps no more of it. The client's leaving ends the reading and nothing else.
 */
export class StreamReply implements Reader {
  private readonly out: EventStream
  private cursor: Cursor | undefined
  private endReading = () => {}
  private draining = false
  private settle: { resolve(): void; reject(error: HelixError): void } | undefined

  constructor(private readonly parts: StreamReplyParts) {
    this.out = new EventStream(parts.response, parts.headers)
  }

  /**
   * Resolves when the answer has begun, or its client has left.
   * @throws HelixError when the stream fails before it has said anything; `stream_unrecoverable`, `not_found`
   */
  begin(): Promise<void> {
    const { stream, afterSeq, epoch, response } = this.parts
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject }
      const cursor = stream.open(afterSeq, this, epoch)
      if (typeof cursor === 'string') {
        reject(unrecoverable(cursor))
        return
      }
      this.cursor = cursor
      this.endReading = this.parts.reads((reason) => this.fail(reason))
      response.once('close', () => this.left())
      if (response.destroyed) this.left()
      else if (stream.ended && afterSeq >= stream.lastSeq) this.finish(this.parts.format.closing)
      else this.pump()
    })
  }

  /** Words that are no part of the answer. After them it can fail within the answer only. */
  comment(text: string): void {
    if (this.cursor && !this.parts.response.destroyed) this.out.comment(text)
  }

  ready(): void {
    this.pump()
  }

  lost(reason: Unrecoverable): void {
    // Of what has been read to its end nothing can be lost.
    if (this.cursor) this.fail(unrecoverable(reason))
  }

  private pump(): void {
    while (!this.draining && this.cursor) {
      const { text, last } = this.take(this.cursor)
      if (last) this.read(this.cursor)
      if (last?.kind === 'error') this.failed(text, last)
      else if (last) this.finish(text)
      else if (text === '') return
      else this.send(text)
    }
  }

  /** As much as one write takes. The last event is not in the text when it is a failure that cuts the connection. */
  private take(cursor: Cursor): { text: string; last: StreamEvent | undefined } {
    const { format } = this.parts
    let text = ''
    for (let event = cursor.next(); event; event = cursor.next()) {
      if (event.kind !== 'error' || format.endsFailed) text += format.frames(event)
      if (isLast(event)) return { text, last: event }
      if (text.length >= WRITE_LENGTH_MAX) break
    }
    return { text, last: undefined }
  }

  private read(cursor: Cursor): void {
    this.cursor = undefined
    endReading(this.parts.stream, cursor)
  }

  private send(text: string): void {
    this.draining = !this.out.write(text)
    this.settle?.resolve()
    if (!this.draining) return
    this.parts.response.once('drain', () => {
      this.draining = false
      this.pump()
    })
  }

  private finish(text: string): void {
    this.close()
    if (text !== '') this.out.write(text)
    this.out.end()
    this.settle?.resolve()
  }

  private failed(text: string, event: StreamEvent): void {
    const { response, format } = this.parts
    // Of a stream whose failure is an event like others, only one that never began has nothing but its failure.
    const firstSeq = format.endsFailed ? 1 : this.parts.afterSeq + 1
    const isFirst = !response.headersSent && event.seq === firstSeq
    if (format.endsFailed && !isFirst) {
      this.finish(text)
      return
    }
    if (text !== '' && !isFirst) this.out.write(text)
    this.fail(failureOf(event))
  }

  private fail(error: HelixError): void {
    this.close()
    if (!this.parts.response.headersSent) {
      this.settle?.reject(error)
      return
    }
    this.out.fail(error)
    this.settle?.resolve()
  }

  private left(): void {
    this.close()
    this.out.leave()
    this.settle?.resolve()
  }

  private close(): void {
    this.cursor?.close()
    this.cursor = undefined
    this.endReading()
  }
}

/**
 * Of a stream that ends with its reader nobody was promised more than one reading. Of others nothing is acknowledged: that
 * bytes went out over HTTP does not say that they have arrived.
 */
function endReading({ head, lastSeq }: Stream, cursor: Cursor): void {
  if (head.detachMs === 0) cursor.acknowledge(lastSeq)
  cursor.close()
}

/**
 * The last event of a stream, for a client that gets nothing before.
 * @throws HelixError `client_closed_request` when the client leaves before; then it reads no more
 */
export function lastEventOf(stream: Stream, response: ServerResponse, afterSeq = 0): Promise<StreamEvent> {
  return new Promise((resolve, reject) => {
    const left = () => {
      cursor.close()
      reject(new HelixError('client_closed_request', 'The client left.'))
    }
    const pump = () => {
      for (let event = cursor.next(); event; event = cursor.next()) {
        if (!isLast(event)) continue
        response.off('close', left)
        resolve(event)
        endReading(stream, cursor)
        return
      }
    }
    const opened = stream.open(afterSeq, { ready: pump, lost: (reason) => reject(unrecoverable(reason)) })
    if (typeof opened === 'string') {
      reject(unrecoverable(opened))
      return
    }
    const cursor = opened
    response.once('close', left)
    if (response.destroyed) left()
    else pump()
  })
}
