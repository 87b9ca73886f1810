import { Acknowledger } from './acknowledger.ts'
import { Deferred } from './deferred.ts'
import { EventQueue } from './event-queue.ts'
import { cancelled, toError, unrecoverable } from './failure.ts'
import type { GenerationResult, GenerationStream, Position, ResponseEvent } from './generation.ts'
import { HelixFlowError } from './helix-flow-error.ts'
import type { StreamEnd, StreamMessage } from './messages.ts'
import { placeOf } from './sequence.ts'
import { textOf } from './stream-events.ts'
import { TextDigest } from './text-digest.ts'
import type { Time } from './time.ts'

/** What a stream needs of its connection. */
export interface StreamLink {
  readonly time: Time
  /** Asks for what follows; answered by `resumed` or `fail`. */
  resume(position: Position): void
  acknowledge(position: Position): void
  /** The caller does not want it any more. */
  cancel(id: string, position: Position | undefined): void
  /** Nothing of it is needed any more. */
  over(stream: TrackedStream): void
}

/** A stream as its connection has it. */
export interface TrackedStream {
  readonly id: string
  readonly position: Position | undefined
  /** The server has taken the request. */
  began(stream: string, epoch: string): void
  /** The connection is another one, which was told what is here. */
  reconnected(): void
  resumed(): void
  /** The server says that it does not send what follows; why, it says when it is asked for it. */
  missing(): void
  unrecoverable(reason: string): void
  fail(error: HelixFlowError): void
  cancel(cause?: unknown): void
  /** @param size in characters */
  accept(message: StreamMessage, size: number): void
}

export interface RunningStreamOptions<Event> {
  readonly id: string
  readonly link: StreamLink
  readonly bufferEvents: number
  readonly event: (message: StreamMessage) => Event | undefined
  readonly signal: AbortSignal | undefined
  /** Where another reader has come to; without: from the beginning. */
  readonly from?: Position | undefined
}

/**
 * `recovering`: what follows has been asked for. `paused`: nobody takes what is here, and what comes is left with the
 * server.
 */
type Mode = 'live' | 'recovering' | 'paused' | 'over'

const BUFFER_SIZE_MAX = 2 ** 20
/** A server that answers so many requests for what is missing with a gap does not have it. */
const FRUITLESS_MAX = 5

/** A generation as its reader has it: each event once, in order, or an error. */
export class RunningStream<Event, Usage> implements GenerationStream<Event, Usage>, TrackedStream {
  readonly id: string
  position: Position | undefined
  private mode: Mode = 'live'
  private readonly queue: EventQueue<StreamMessage>
  private readonly acks: Acknowledger
  private readonly digest: TextDigest | undefined
  private readonly outcome = new Deferred<GenerationResult<Usage>>()
  private whole = ''
  private about = { responseId: '', model: '' }
  private fruitless = 0
  private reading = false
  private resultWanted = false
  /** Only the result is wanted: events are looked at, and not kept. */
  private discarding = false

  constructor(private readonly options: RunningStreamOptions<Event>) {
    const { id, link, bufferEvents, signal, from } = options
    this.id = id
    this.position = from
    this.digest = (from?.seq ?? 0) === 0 ? new TextDigest() : undefined
    this.queue = new EventQueue({ items: bufferEvents, size: BUFFER_SIZE_MAX }, () => this.taken())
    this.acks = new Acknowledger(link.time, () => this.position && link.acknowledge(this.position))
    signal?.addEventListener('abort', this.onAbort)
  }

  get result(): Promise<GenerationResult<Usage>> {
    this.resultWanted = true
    if (this.mode === 'paused' && !this.reading) {
      this.discard()
      this.recover()
    }
    return this.outcome.promise
  }

  [Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    return this.read(this.options.event)
  }

  text(): AsyncGenerator<string, void, undefined> {
    return this.read((message) => textOf(message) || undefined)
  }

  cancel(cause?: unknown): void {
    if (this.mode === 'over') return
    this.queue.clear()
    this.finish(cancelled(cause))
    this.options.link.cancel(this.id, this.position)
  }

  began(stream: string, epoch: string): void {
    this.position = { stream, epoch, seq: 0 }
  }

  reconnected(): void {
    if (this.mode === 'live') this.mode = 'recovering'
  }

  resumed(): void {
    if (this.mode === 'recovering') this.mode = 'live'
  }

  unrecoverable(reason: string): void {
    this.finish(unrecoverable(reason, this.position?.seq ?? 0))
  }

  fail(error: HelixFlowError): void {
    this.finish(error)
  }

  accept(message: StreamMessage, size: number): void {
    const { position } = this
    if (this.mode === 'over' || this.mode === 'paused' || position === undefined) return
    const place = placeOf(position.seq, message)
    if (place === 'gap') this.missing()
    if (place !== 'next' || !this.hasRoom()) return
    this.fruitless = 0
    const { seq, seq_to = seq } = message as StreamMessage & { readonly seq_to?: number }
    // Its epoch is another one where another gateway has taken the stream over.
    this.position = { ...position, epoch: message.epoch, seq: seq_to }
    this.acks.came(seq_to)
    this.take(message, size)
  }

  private take(message: StreamMessage, size: number): void {
    const text = textOf(message)
    this.whole += text
    this.digest?.update(text)
    if (message.type === 'stream.start') {
      this.about = { responseId: message.response_id, model: message.model }
    }
    if (message.type === 'stream.end' && !this.isWhole(message)) {
      this.finish(incomplete())
      return
    }
    if (!this.discarding) this.queue.push(message, size)
    if (message.type === 'stream.end') this.complete(message)
    if (message.type === 'stream.error') this.finish(toError(message))
  }

  private isWhole({ seq, last_seq, sha256 }: StreamEnd): boolean {
    return seq === last_seq && (this.digest === undefined || this.digest.finish() === sha256)
  }

  private complete({ usage, finish_reason, data }: StreamEnd): void {
    this.outcome.resolve({
      text: this.whole,
      usage: (usage ?? undefined) as Usage | undefined,
      finishReason: finish_reason ?? undefined,
      ...this.about,
      last: data as ResponseEvent | undefined,
    })
    this.finish()
  }

  private finish(error?: HelixFlowError): void {
    if (this.mode === 'over') return
    this.mode = 'over'
    this.acks.flush()
    this.options.signal?.removeEventListener('abort', this.onAbort)
    this.queue.end(error)
    if (error !== undefined) this.outcome.reject(error)
    this.options.link.over(this)
  }

  missing(): void {
    if (this.mode === 'recovering' || this.mode === 'over') return
    this.fruitless++
    if (this.fruitless > FRUITLESS_MAX) this.finish(incomplete())
    else this.recover()
  }

  private recover(): void {
    if (this.position === undefined) return
    this.mode = 'recovering'
    this.options.link.resume(this.position)
  }

  private hasRoom(): boolean {
    if (this.discarding || !this.queue.isFull) return true
    if (this.resultWanted && !this.reading) {
      this.discard()
      return true
    }
    this.mode = 'paused'
    return false
  }

  private discard(): void {
    this.discarding = true
    this.queue.clear()
  }

  private taken(): void {
    if (this.mode === 'paused' && this.queue.isRoomy) this.recover()
  }

  private async *read<T>(
    pick: (message: StreamMessage) => T | undefined,
  ): AsyncGenerator<T, void, undefined> {
    if (this.reading || this.discarding) {
      const text = 'The events of this stream have been read, or were left for its result alone.'
      throw new HelixFlowError('consumed', text)
    }
    this.reading = true
    try {
      for (;;) {
        const message = await this.queue.take()
        if (message === undefined) return
        const value = pick(message)
        if (value !== undefined) yield value
      }
    } finally {
      // Only a reader that leaves before the end finds something to cancel.
      this.cancel()
    }
  }

  private readonly onAbort = () => this.cancel(this.options.signal?.reason)
}

function incomplete(): HelixFlowError {
  return new HelixFlowError('integrity', 'What came is not what the server generated.', { status: 502 })
}
