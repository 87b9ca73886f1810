import type { Follower } from '../../cache/flight.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { type Asker, afterDeadline } from '../dispatch/dispatch.ts'
import type { AnswerKind } from '../dispatch/exchange.ts'
import type { AnswerRecipient } from '../dispatch/recipient.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import { NO_USAGE, type Usage } from '../dispatch/usage.ts'
import { streamEnd, streamOf, wholeOf } from './answer-forms.ts'

/** What a subscriber follows, and what is known of it by now. */
export interface Source {
  readonly kind: AnswerKind
  /** Whether its pieces are events, or one whole answer. */
  readonly isStream: boolean
  /** Known when it is complete; undefined when the engine did not say. */
  readonly usage: Usage | undefined
  /** An engine had begun to work on it. */
  readonly worked: boolean
  /** What comes after the events of a complete stream. */
  ending(includeUsage: boolean): Buffer
  /** Somebody wants to end before it does: they are told `failed` when it has done with them. */
  quit(subscriber: Subscriber, error: HelixError): void
}

export interface SubscriberParts {
  readonly source: Source
  readonly recipient: AnswerRecipient
  readonly asker: Asker
  readonly wantsStream: boolean
  readonly includeUsage: boolean
  readonly cache: 'hit' | 'coalesced' | undefined
  readonly clock: Clock
  readonly deadlineMs: number
  /** A client that takes nothing for so long is cut. */
  readonly stallTimeoutMs: number
}

/** What becomes of a subscriber: answered, or the form that it wants cannot be made of what came. */
export type Outcome = 'answered' | 'unfit'

/** An answer that is put together of a stream is no larger. */
const COLLECTED_BYTES_MAX = 64 * 2 ** 20

/**
 * One client that gets an answer which is, or was, not made for it alone. It gets the pieces as they come, or, in the other
 * form, everything at the end; its own leaving, deadline or lost key ends it and nothing else. What it costs is told once,
 * before its last bytes.
 */
export class Subscriber implements Follower {
  readonly done: Promise<Outcome>
  private readonly collected: Buffer[] = []
  private collectedBytes = 0
  private firstTokenMs: number | undefined
  private told = false
  private over = false
  private resolve: (outcome: Outcome) => void = () => {}
  private reject: (error: HelixError) => void = () => {}
  private unwatch: () => void = () => {}
  private readonly cancelDeadline: () => void
  private cancelStall: () => void = () => {}

  constructor(private readonly parts: SubscriberParts) {
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    const { asker, recipient, clock, deadlineMs } = parts
    this.cancelDeadline = afterDeadline(clock, deadlineMs, (error) => this.leave(error))
    asker.begun((reason) => this.leave(reason))
    this.unwatch = recipient.whenGone(() =>
      this.leave(new HelixError('client_closed_request', 'The client left.')),
    )
  }

  /** Its form is the one in which the answer comes. */
  get fits(): boolean {
    return this.parts.wantsStream === this.parts.source.isStream
  }

  take(piece: Buffer): boolean {
    const { source, wantsStream, recipient, clock } = this.parts
    if (!wantsStream || !source.isStream) {
      this.collect(piece)
      return true
    }
    this.firstTokenMs ??= clock.monotonic()
    return recipient.write(piece)
  }

  drained(resume: () => void): void {
    const { clock, stallTimeoutMs, recipient } = this.parts
    this.cancelStall = clock.schedule(stallTimeoutMs, () =>
      this.leave(new HelixError('deadline_exceeded', 'The client stopped reading the stream.')),
    )
    recipient.drained(() => {
      this.cancelStall()
      resume()
    })
  }

  comment(text: string): void {
    const { source, wantsStream, recipient } = this.parts
    if (wantsStream && source.isStream) recipient.comment(text)
  }

  /** @throws what the asker throws: then its answer must not be completed */
  settle(settlement: Settlement): void {
    if (this.told) return
    this.parts.asker.settled({ ...settlement, firstTokenMs: this.firstTokenMs })
    this.told = true
  }

  finished(): void {
    if (this.over) return
    try {
      this.answer()
    } catch (reason) {
      this.failed(HelixError.from(reason))
    }
  }

  failed(error: HelixError): void {
    if (this.over) return
    const { recipient } = this.parts
    const begun = recipient.committed
    try {
      this.settleFailure(error)
    } catch {
      // Whoever keeps records has told the log; the others of this flight must not suffer from it.
    }
    // An answer in one piece that had begun was complete when it did.
    if (begun && !recipient.gone) recipient.fail(error)
    this.close()
    if (begun || recipient.gone) this.resolve('answered')
    else this.reject(error)
  }

  private leave(error: HelixError): void {
    if (!this.over) this.parts.source.quit(this, error)
  }

  private settleFailure(error: HelixError): void {
    const { source, cache } = this.parts
    const { worked } = source
    this.settle({ usage: NO_USAGE, estimated: false, worked, firstTokenMs: undefined, error, cache })
  }

  private answer(): void {
    const { recipient, wantsStream, cache } = this.parts
    const last = this.lastBytes()
    if (!last) {
      this.refuse()
      return
    }
    this.settle({
      usage: NO_USAGE,
      estimated: false,
      worked: true,
      firstTokenMs: undefined,
      error: undefined,
      cache: cache ?? 'coalesced',
    })
    if (!wantsStream) recipient.whole(last)
    else if (last.length <= ONE_WRITE_BYTES_MAX) recipient.endWith(last)
    else {
      recipient.write(last)
      recipient.end()
    }
    this.close()
    this.resolve('answered')
  }

  private refuse(): void {
    // Who has paid for what cannot be given to it must not get another one for nothing.
    if (this.told)
      throw new HelixError('upstream_invalid_response', 'The answer cannot be given in this form.')
    this.close()
    this.resolve('unfit')
  }

  /** What is still to be sent; undefined when it cannot be made of what came. */
  private lastBytes(): Buffer | undefined {
    const { source, wantsStream, includeUsage } = this.parts
    const body =
      this.collected.length === 1 && this.collected[0] ? this.collected[0] : Buffer.concat(this.collected)
    if (!wantsStream) return source.isStream ? wholeOf(body, source.kind, source.usage) : body
    if (source.isStream) return source.ending(includeUsage)
    const events = streamOf(body, source.kind)
    return events && Buffer.concat([events, streamEnd(events, source.usage, includeUsage)])
  }

  private collect(piece: Buffer): void {
    this.collectedBytes += piece.length
    if (!this.parts.source.isStream || this.collectedBytes <= COLLECTED_BYTES_MAX) this.collected.push(piece)
    else this.leave(new HelixError('upstream_invalid_response', 'The answer of the engine is too large.'))
  }

  private close(): void {
    this.over = true
    this.cancelDeadline()
    this.cancelStall()
    this.unwatch()
    this.parts.recipient.leave()
  }
}

const ONE_WRITE_BYTES_MAX = 16 * 1024
