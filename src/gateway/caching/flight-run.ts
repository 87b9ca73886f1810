import { Flight, type Follower } from '../../cache/flight.ts'
import { HelixError } from '../../core/errors.ts'
import type { Span } from '../../core/tracing.ts'
import type { Tier } from '../../scheduler/tier.ts'
import type { Asker, Dispatch } from '../dispatch/dispatch.ts'
import type { AnswerKind, Exchange } from '../dispatch/exchange.ts'
import type { Recipient } from '../dispatch/recipient.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { Usage } from '../dispatch/usage.ts'
import { DONE, streamEnd } from './answer-forms.ts'
import type { Source, Subscriber } from './subscriber.ts'

/** Who wants the answer of a flight, and can be charged for it. */
export interface Passenger extends Follower {
  /** It gets the answer in the form in which it comes. */
  readonly fits: boolean
  /** @throws when the cost cannot be recorded */
  settle(settlement: Settlement): void
  comment(text: string): void
}

/** What a flight brought, when it is complete and may be kept. */
export interface Landed {
  readonly isStream: boolean
  readonly body: Buffer
  readonly usage: Usage | undefined
  /** Of the engine that made it. */
  readonly revision: string | undefined
}

export interface FlightRunParts {
  readonly dispatch: Dispatch
  readonly exchange: Exchange
  /** Of the first who asked: the flight takes its turn. */
  readonly tenant: string
  /** Of the same: what the engine does is a part of their request. */
  readonly span: Span
  readonly kind: AnswerKind
  readonly bytesMax: number
  /** Nobody can join it any more. */
  readonly closed: () => void
  readonly landed: (answer: Landed) => void
}

/**
 * One question to an engine on behalf of all who ask it at the same time. To the dispatcher it is the client; to its
 * passengers, the source of their answer. The first of those who are still there pays.
 */
export class FlightRun implements Recipient, Source, Asker {
  readonly isStream: boolean
  readonly gone = false
  usage: Usage | undefined
  worked = false
  private readonly flight: Flight<Passenger>
  private revision: string | undefined
  private head: Buffer = Buffer.alloc(0)
  private isComplete = false
  private isOver = false
  private abort: (reason: HelixError) => void = () => {}
  /** The last who left, for whom alone it still runs to its end. */
  private lastLeaver: { readonly subscriber: Subscriber; readonly error: HelixError } | undefined

  constructor(private readonly parts: FlightRunParts) {
    this.isStream = parts.exchange.stream
    const abandoned = () => {
      parts.closed()
      this.abort(this.lastLeaver?.error ?? new HelixError('client_closed_request', 'All clients left.'))
    }
    this.flight = new Flight({ bytesMax: parts.bytesMax, abandoned })
  }

  get tenant(): string {
    return this.parts.tenant
  }

  get span(): Span {
    return this.parts.span
  }

  get tier(): Tier {
    return this.parts.exchange.tier
  }

  get kind(): AnswerKind {
    return this.parts.kind
  }

  get committed(): boolean {
    return true
  }

  get passengers(): readonly Passenger[] {
    return this.flight.followers
  }

  board(passenger: Passenger): void {
    this.flight.follow(passenger)
  }

  /** Resolves when it is over, however it ended; every passenger has been told. */
  async fly(): Promise<void> {
    const { dispatch, exchange, closed } = this.parts
    const observed: Exchange = {
      ...exchange,
      // Who asked for the usage gets it from us.
      includeUsage: false,
      body: (replica, asked) => {
        this.revision = replica.revision
        return exchange.body(replica, asked)
      },
    }
    try {
      await dispatch.send(observed, this, this)
    } catch (reason) {
      this.fail(HelixError.from(reason))
    } finally {
      closed()
      this.isOver = true
      const { lastLeaver } = this
      lastLeaver?.subscriber.failed(lastLeaver.error)
    }
  }

  begun(end: (reason: HelixError) => void): void {
    this.abort = end
  }

  settled(settlement: Settlement): void {
    this.worked = settlement.worked
    if (settlement.error) {
      this.chargeFailure(settlement)
      return
    }
    this.charge(settlement)
    this.isComplete = true
    this.usage = settlement.estimated ? undefined : settlement.usage
  }

  quit(subscriber: Subscriber, error: HelixError): void {
    const others = this.flight.followers.some((one) => one !== subscriber)
    if (!others && !this.isComplete && !this.isOver) this.lastLeaver = { subscriber, error }
    this.flight.leave(subscriber)
    if (this.lastLeaver?.subscriber !== subscriber) subscriber.failed(error)
  }

  ending(includeUsage: boolean): Buffer {
    return streamEnd(this.head, this.usage, includeUsage)
  }

  whenGone(): () => void {
    return () => {}
  }

  whole(body: Buffer): void {
    this.flight.push(body)
    this.land()
  }

  write(bytes: Buffer): boolean {
    if (this.head.length < HEAD_BYTES) this.head = Buffer.concat([this.head, bytes.subarray(0, HEAD_BYTES)])
    // The last bytes end with the end of the stream, before which some get the usage.
    const events = this.isComplete ? bytes.subarray(0, bytes.length - DONE.length) : bytes
    const takesMore = events.length === 0 || this.flight.push(events)
    if (!this.flight.isWhole) this.parts.closed()
    return takesMore
  }

  drained(resume: () => void): void {
    this.flight.drained(resume)
  }

  comment(text: string): void {
    for (const passenger of this.passengers) passenger.comment(text)
  }

  end(): void {
    this.land()
  }

  fail(error: HelixError): void {
    this.flight.fail(error)
  }

  leave(): void {}

  private land(): void {
    const { landed } = this.parts
    const { isStream, usage, revision, flight } = this
    if (flight.isWhole) landed({ isStream, usage, revision, body: flight.body })
    flight.complete()
  }

  /** The first whose record can be kept pays for all; who cannot must not get the answer. */
  private charge(settlement: Settlement): void {
    let problem: unknown
    for (const passenger of this.payers()) {
      try {
        passenger.settle(settlement)
        return
      } catch (reason) {
        problem = reason
        this.flight.leave(passenger)
        passenger.failed(HelixError.from(reason))
      }
    }
    if (problem !== undefined) throw problem
  }

  private chargeFailure(settlement: Settlement): void {
    const { lastLeaver } = this
    if (lastLeaver) lastLeaver.subscriber.settle({ ...settlement, error: lastLeaver.error })
    else this.payers()[0]?.settle(settlement)
  }

  private payers(): readonly Passenger[] {
    const { passengers } = this
    return [...passengers.filter(({ fits }) => fits), ...passengers.filter(({ fits }) => !fits)]
  }
}

/** In so much of the beginning stands a chunk with what all of them have in common. */
const HEAD_BYTES = 4_096
