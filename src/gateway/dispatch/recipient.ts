import type { ServerResponse } from 'node:http'
import type { HelixError } from '../../core/errors.ts'
import { EventStream } from './event-stream.ts'

/** Somebody who may leave before they are answered. */
export interface Presence {
  /** It cannot be told anything any more. */
  readonly gone: boolean
  /** Calls back when it leaves before its answer has ended. Returns what ends the watch. */
  whenGone(tell: () => void): () => void
}

/** Where an answer goes: the connection of a client, or what many clients follow. */
export interface Recipient extends Presence {
  /** It has got the first bytes of an event stream. */
  readonly committed: boolean
  /** An answer in one piece. */
  whole(body: Buffer): void
  /** A piece of an event stream. @returns false when it cannot take more until `drained` calls back */
  write(bytes: Buffer): boolean
  drained(resume: () => void): void
  /** Words that are no part of the answer. */
  comment(text: string): void
  end(): void
  /** Why the stream that has begun ends here. */
  fail(error: HelixError): void
  /** Nothing more comes in this way. */
  leave(): void
}

/** One client, or what stands for one. */
export interface AnswerRecipient extends Recipient {
  /** The last bytes of an event stream, which may be all, and its end. */
  endWith(bytes: Buffer): void
}

const ONE_WRITE_BYTES_MAX = 16 * 1024
const UNREAD_BYTES_MAX = 64 * 1024
const UNREAD_TIMEOUT_MS = 30_000

/** A client's connection. The headers are asked for once, when the answer begins. */
export class ClientRecipient implements AnswerRecipient {
  private opened: EventStream | undefined

  constructor(
    private readonly response: ServerResponse,
    private readonly headers: () => Readonly<Record<string, string>>,
  ) {}

  get gone(): boolean {
    return this.response.destroyed
  }

  /** Once true, the status is 200 for good. */
  get committed(): boolean {
    return this.response.headersSent
  }

  whenGone(tell: () => void): () => void {
    return presenceOf(this.response).whenGone(tell)
  }

  whole(body: Buffer): void {
    const { response } = this
    response.writeHead(200, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': body.length,
      ...this.headers(),
    })
    // A small body goes out in one write with its headers when it is a string; latin1 keeps its bytes as they are.
    if (body.length <= ONE_WRITE_BYTES_MAX) response.end(body.toString('latin1'), 'latin1')
    else response.end(body)
    // What the client does not take is held in memory, and not for ever.
    if (response.writableLength > UNREAD_BYTES_MAX)
      response.setTimeout(UNREAD_TIMEOUT_MS, () => response.destroy())
  }

  write(bytes: Buffer): boolean {
    return this.stream.write(bytes)
  }

  drained(resume: () => void): void {
    this.response.once('drain', resume)
  }

  comment(text: string): void {
    this.stream.comment(text)
  }

  endWith(bytes: Buffer): void {
    this.stream.endWith(bytes)
  }

  end(): void {
    this.stream.end()
  }

  fail(error: HelixError): void {
    this.stream.fail(error)
  }

  leave(): void {
    this.opened?.leave()
  }

  private get stream(): EventStream {
    this.opened ??= new EventStream(this.response, this.headers)
    return this.opened
  }
}

/** Whether the client at the other end of a connection is still there. */
export function presenceOf(response: ServerResponse): Presence {
  return {
    get gone() {
      return response.destroyed
    },
    whenGone: (tell) => {
      const onClose = () => {
        if (!response.writableFinished) tell()
      }
      response.once('close', onClose)
      if (response.destroyed) onClose()
      return () => response.removeListener('close', onClose)
    },
  }
}
