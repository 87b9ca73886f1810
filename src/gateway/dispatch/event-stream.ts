import type { ServerResponse } from 'node:http'
import { comment, frame } from '../../contracts/sse.ts'
import type { HelixError } from '../../core/errors.ts'

const CUT_AFTER_MS = 1_000

/**
 * The client's end of an event stream. Headers go out with the first bytes, so that a failure before that keeps its
 * own status; after that a failure is an error event and then a cut, never a clean end.
 */
export class EventStream {
  private static readonly open = new Set<EventStream>()
  private idleBeats = 0

  constructor(
    private readonly response: ServerResponse,
    private readonly headers: () => Readonly<Record<string, string>>,
  ) {}

  /** @returns false when the client reads more slowly than we write, until `drain` */
  write(bytes: Buffer | string): boolean {
    this.commit()
    this.idleBeats = 0
    return this.response.write(bytes)
  }

  comment(text: string): void {
    this.write(comment(text))
  }

  end(): void {
    this.commit()
    EventStream.open.delete(this)
    this.response.end()
  }

  /** The last bytes, which may be all, and the end in one write. */
  endWith(bytes: Buffer): void {
    this.commit()
    EventStream.open.delete(this)
    this.response.end(bytes.toString('latin1'), 'latin1')
  }

  /** Tells the client why the stream ends here, then cuts the connection so that nothing takes it for complete. */
  fail(error: HelixError): void {
    EventStream.open.delete(this)
    const cut = () => this.response.destroy()
    this.response.write(frame(error.toBody()), cut)
    // A client that does not read will not take this either.
    setTimeout(cut, CUT_AFTER_MS).unref()
  }

  /** Forgets the stream; it was answered in another way or the client is gone. */
  leave(): void {
    EventStream.open.delete(this)
  }

  private commit(): void {
    if (this.response.headersSent) return
    this.response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      ...this.headers(),
    })
    EventStream.open.add(this)
  }

  /**
   * Writes a comment on every open stream that was silent for two beats. One timer for all streams costs less than
   * one each. Returns what stops it.
   */
  static keepAlive(beatMs: number): () => void {
    const timer = setInterval(() => {
      for (const stream of EventStream.open) if (++stream.idleBeats > 2) stream.comment('keep-alive')
    }, beatMs)
    timer.unref()
    return () => clearInterval(timer)
  }
}
