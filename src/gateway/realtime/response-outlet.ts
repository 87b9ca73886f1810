import type { HelixError } from '../../core/errors.ts'
import type { Cursor, Reader, Stream } from '../../streams/stream.ts'
import { isLast, type StreamEvent, type Unrecoverable } from '../../streams/stream-event.ts'
import type { ResponseObject } from '../responses/response-object.ts'
import { unrecoverable } from '../streaming/stream-failure.ts'
import type { Connection } from './connection.ts'
import { textFrame } from './frames.ts'
import type { Outlet } from './speaker.ts'

interface EventFields {
  readonly data?: { readonly response?: ResponseObject }
  readonly error?: object
  readonly status?: number
}

/** One response on its way to a client of its API; the events of a lane name it. */
export class ResponseOutlet implements Outlet, Reader {
  private cursor: Cursor | undefined
  private settle:
    | { resolve(response: ResponseObject | undefined): void; reject(error: HelixError): void }
    | undefined

  constructor(
    private readonly connection: Connection,
    private readonly stream: Stream,
    private readonly lane: string | undefined,
  ) {}

  /**
   * Resolves when the last event was sent, with the response where it is one; or when the client has left.
   * @throws HelixError `stream_unrecoverable` when the client read so slowly that there is a gap
   */
  run(): Promise<ResponseObject | undefined> {
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject }
      const cursor = this.stream.open(0, this)
      if (typeof cursor === 'string') {
        reject(unrecoverable(cursor))
        return
      }
      this.cursor = cursor
      if (this.connection.isOpen) this.ready()
      else this.close()
    })
  }

  ready(): void {
    this.connection.ready(this)
  }

  lost(reason: Unrecoverable): void {
    if (!this.cursor) return
    this.cursor = undefined
    this.settle?.reject(unrecoverable(reason))
  }

  take(): Buffer | undefined {
    const event = this.cursor?.next()
    return event && textFrame(this.textOf(event))
  }

  close(): void {
    this.connection.forget(this)
    this.end(undefined)
  }

  private textOf(event: StreamEvent): string {
    const { data, error, status } = JSON.parse(event.data) as EventFields
    if (isLast(event)) this.end(data?.response)
    return JSON.stringify({ ...(data ?? { type: 'error', status, error }), stream_id: this.lane })
  }

  private end(response: ResponseObject | undefined): void {
    const { cursor } = this
    this.cursor = undefined
    this.settle?.resolve(response)
    if (response) cursor?.acknowledge(this.stream.lastSeq)
    cursor?.close()
  }
}
