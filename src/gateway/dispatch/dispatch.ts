import { EventSplitter, eventData } from '../../contracts/sse.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Span } from '../../core/tracing.ts'
import { attemptError, type Failure, failureOf, unansweredError } from './attempt-error.ts'
import type { EngineClients } from './engine-client.ts'
import { endEngineSpan, engineSpan } from './engine-span.ts'
import type { Answer, Collector, Exchange } from './exchange.ts'
import type { Lease } from './lease.ts'
import type { AnswerRecipient, Recipient } from './recipient.ts'
import { type RelayRequest, type RelayResult, relayStream, relayWhole, type Sink } from './relay.ts'
import type { Router } from './router.ts'
import { Account, type Settlement } from './settlement.ts'
import { StreamFilter } from './stream-filter.ts'
import type { UpstreamHealth } from './upstream-health.ts'
import { findUsage, NO_USAGE, UsageTally, usageField } from './usage.ts'
import { wantOf } from './want.ts'

export interface DispatchOptions {
  readonly router: Router
  readonly upstreams: UpstreamHealth
  readonly clients: EngineClients
  readonly clock: Clock
  readonly firstByteTimeoutMs: number
  readonly stallTimeoutMs: number
  readonly requestDeadlineMs: number
  /** How often a stream that waits for its model is told so. */
  readonly waitNoticeMs: number
  /** Whether servers of others are told the trace of a request. */
  readonly tracesUpstreams: boolean
}

/** Who asks, and is told what became of it. */
export interface Asker {
  /** Who is to get no more of an engine than others that want it. */
  readonly tenant: string
  /** Of which its wait and its attempts are parts. */
  readonly span: Span
  /** Told once, at the start, how to end the request from outside. */
  begun(end: (reason: HelixError) => void): void
  /**
   * Told once, however the request ends: before the last bytes of a complete answer, after a failed one. What it throws
   * fails the answer that was about to be completed.
   */
  settled(result: Settlement): void
}

/** The client's side of one request. */
export interface Caller extends Asker {
  /** Where its answer goes. @param headers what the answer says of itself beside what every answer says */
  recipient(headers: Readonly<Record<string, string>>): AnswerRecipient
}

/** One request on its way. */
interface Work {
  readonly exchange: Exchange
  readonly recipient: Recipient
  readonly account: Account
  readonly signal: AbortSignal
  readonly tenant: string
  /** Of the whole request; while an engine is asked, of that attempt. */
  readonly span: Span
  /** When it is given up, on the monotonic clock. */
  readonly deadlineMs: number | undefined
}

/** A reset connection may mean that the request killed the engine; it gets one more engine, not more. */
const LOST_ENGINES_MAX = 1
const ATTEMPTS_MAX = 6

const COLLECTED_BYTES_MAX = 64 * 2 ** 20

/**
 * Carries a request to an engine and the answer back: waits for a replica, relays, tries again while nothing has been
 * generated, and stops the engine as soon as the client leaves.
 */
export class Dispatch {
  private readonly running = new Map<AbortController, Promise<void>>()

  constructor(private readonly options: DispatchOptions) {}

  /** @throws HelixError when the request fails before the first byte of an answer was sent */
  run(exchange: Exchange, caller: Caller): Promise<void> {
    return this.send(exchange, caller.recipient({}), caller, this.options.requestDeadlineMs)
  }

  /**
   * The same for any recipient.
   * @param deadlineMs undefined where it is the recipient's to give up
   * @throws HelixError as `run`
   */
  async send(exchange: Exchange, recipient: Recipient, asker: Asker, deadlineMs?: number): Promise<void> {
    const abort = new AbortController()
    asker.begun((reason) => abort.abort(reason))
    const account = new Account(
      (settlement) => asker.settled(settlement),
      this.options.clock,
      () => exchange.size().promptTokensLikely,
    )
    const work: Work = {
      exchange,
      recipient,
      account,
      signal: abort.signal,
      tenant: asker.tenant,
      span: asker.span,
      deadlineMs: deadlineMs === undefined ? undefined : this.options.clock.monotonic() + deadlineMs,
    }
    const running = this.carry(work, abort, deadlineMs)
    this.running.set(
      abort,
      running.catch(() => {}),
    )
    try {
      await running
    } finally {
      this.running.delete(abort)
    }
  }

  /** Ends what still runs: each caller is told, none gets a clean end. */
  async stop(): Promise<void> {
    for (const abort of this.running.keys()) {
      abort.abort(
        new HelixError('server_draining', 'The server was shut down before the answer was complete.'),
      )
    }
    await Promise.all(this.running.values())
  }

  private async carry(work: Work, abort: AbortController, deadlineMs: number | undefined): Promise<void> {
    const { exchange, recipient, account } = work
    const unwatch = recipient.whenGone(() => {
      abort.abort(new HelixError('client_closed_request', 'The client left.'))
    })
    const cancelDeadline = afterDeadline(this.options.clock, deadlineMs, (error) => abort.abort(error))
    try {
      await this.attempt(work)
    } catch (reason) {
      const error = HelixError.from(reason)
      account.fail(error)
      const begun = exchange.stream && recipient.committed
      if (!recipient.gone && !begun) throw error
      if (begun && !recipient.gone) recipient.fail(error)
    } finally {
      cancelDeadline()
      recipient.leave()
      unwatch()
    }
  }

  private async attempt(work: Work): Promise<void> {
    const { exchange, account, signal } = work
    const { upstreams } = this.options
    const lostEngines = new Set<string>()
    const failed = new Set<string>()
    upstreams.requested()
    for (let attempt = 1; ; attempt++) {
      const lease = await this.lease(work, failed)
      try {
        upstreams.began(lease.replica)
        const result = await this.ask(work, lease)
        if (result.kind === 'complete') return
        if (hasWorked(result)) account.worked = true
        const { id, engine } = lease.replica
        if (engine === 'upstream' && this.triesAnother(exchange.model, failed.add(id), attempt, result))
          continue
        if (result.kind !== 'unanswered') throw failureOf(result, exchange, lease, signal)
        if (engine === 'upstream' && attempt > 1) throw unansweredError(lease, result.cause)
        // The first reset may only be an idle connection that the engine had closed; after a second it is passed over.
        const isDown = result.refused || lostEngines.has(id)
        if (isDown && engine !== 'upstream') this.options.router.suspect(id)
        if (!result.refused) lostEngines.add(id)
        const givesUp = lostEngines.size > LOST_ENGINES_MAX || attempt >= ATTEMPTS_MAX
        if (givesUp) throw unansweredError(lease, result.cause)
      } finally {
        lease.release()
      }
    }
  }

  private async ask(work: Work, lease: Lease): Promise<RelayResult> {
    const { upstreams, router } = this.options
    let result: RelayResult = { kind: 'aborted' }
    try {
      result = await this.traced(work, lease)
      return result
    } finally {
      const was = upstreams.usable(lease.replica)
      upstreams.ended(lease.replica, result)
      if (was !== upstreams.usable(lease.replica)) router.changed()
    }
  }

  private async traced(work: Work, lease: Lease): Promise<RelayResult> {
    const { exchange, account, signal } = work
    const span = engineSpan(work.span, exchange, lease.replica)
    const ask = (one: Work) => (exchange.stream ? this.stream(one, lease) : this.whole(one, lease))
    if (span.traceId === undefined) return ask(work)
    const startMs = this.options.clock.monotonic()
    try {
      const result = await ask({ ...work, span })
      const firstTokenMs = account.firstTokenMs === undefined ? undefined : account.firstTokenMs - startMs
      const error = result.kind === 'complete' ? undefined : attemptError(result, exchange, lease, signal)
      endEngineSpan(span, { result, usage: account.used(), firstTokenMs, error })
      return result
    } catch (reason) {
      span.end(HelixError.from(reason))
      throw reason
    }
  }

  private triesAnother(
    model: string,
    failed: ReadonlySet<string>,
    attempt: number,
    result: RelayResult,
  ): boolean {
    return attempt < ATTEMPTS_MAX && this.options.upstreams.mayTryAnother(model, failed, result)
  }

  /** Waits for a replica; a stream is told every now and then what it waits for. */
  private async lease(work: Work, failed: ReadonlySet<string>): Promise<Lease> {
    const { exchange, recipient, account, signal } = work
    const { router, upstreams, waitNoticeMs } = this.options
    const shut = upstreams.shut(exchange.model)
    if (shut) throw shut
    const want = wantOf(work, failed)
    const waiting = router.lease(want).then((lease) => {
      const { replica, route, waitedMs } = lease
      account.served = { replica: replica.id, route, waitedMs }
      return lease
    })
    if (!exchange.stream) return waiting
    let isOver = false
    const notice = setInterval(() => {
      void router.explainWait(want).then((reason) => {
        // Said late it would stand in the middle of the answer, or open a stream where an error was told.
        if (!signal.aborted && !isOver) recipient.comment(reason)
      })
    }, waitNoticeMs)
    try {
      return await waiting
    } finally {
      isOver = true
      clearInterval(notice)
    }
  }

  private async stream(work: Work, lease: Lease): Promise<RelayResult> {
    const { exchange, account, recipient } = work
    const filter = new StreamFilter(exchange, exchange.rewrite?.(lease.replica))
    account.follow(() => filter.pieces)
    const sink: Sink = {
      write: (bytes) => {
        account.token()
        // These are the last bytes: what it cost is on record before the client can see that it is complete.
        if (filter.done) account.complete(filter.usage())
        return recipient.write(bytes)
      },
      drained: (resume) => recipient.drained(resume),
    }
    const result = await relayStream(this.request(work, lease, true), filter, sink)
    if (result.kind === 'complete') recipient.end()
    return result
  }

  private async whole(work: Work, lease: Lease): Promise<RelayResult> {
    const { exchange, account, recipient } = work
    if (exchange.collect) return this.collected(work, lease, exchange.collect())
    const result = await relayWhole(this.request(work, lease, false))
    if (result.kind !== 'complete') return result
    account.worked = true
    if (lease.replica.engine === 'upstream') checkWhole(result.body)
    const tally = new UsageTally()
    tally.add(findUsage(result.body), 0)
    const rewrite = exchange.rewrite?.(lease.replica)
    const body = rewrite ? Buffer.from(JSON.stringify(rewrite.whole(parseAnswer(result.body)))) : result.body
    account.complete(tally.total())
    recipient.whole(body)
    return result
  }

  private async collected(work: Work, lease: Lease, collector: Collector): Promise<RelayResult> {
    const { exchange, account, recipient } = work
    const filter = new StreamFilter({ ...exchange, includeUsage: false }, undefined)
    account.follow(() => filter.pieces)
    const result = await relayStream(this.request(work, lease, true), filter, collectingSink(collector))
    if (result.kind !== 'complete') return result
    account.worked = true
    const answer = { ...collector.answer(), usage: usageField(result.usage ?? NO_USAGE) }
    const rewrite = exchange.rewrite?.(lease.replica)
    const body = Buffer.from(JSON.stringify(rewrite ? rewrite.whole(answer) : answer))
    account.complete(result.usage)
    recipient.whole(body)
    return result
  }

  private request({ exchange, span, signal }: Work, { replica }: Lease, stream: boolean): RelayRequest {
    const { clients, tracesUpstreams, firstByteTimeoutMs, stallTimeoutMs, requestDeadlineMs } = this.options
    const client = clients.get(replica)
    // A stranger learns nothing of which requests belong together.
    const isTold = span.traceId !== undefined && (replica.engine !== 'upstream' || tracesUpstreams)
    return {
      client: isTold ? { ...client, headers: { ...client.headers, ...span.headers() } } : client,
      path: exchange.path,
      body: JSON.stringify(exchange.body(replica, { stream })),
      signal,
      // A whole answer begins when it is finished.
      firstByteTimeoutMs: stream ? firstByteTimeoutMs : requestDeadlineMs,
      stallTimeoutMs,
    }
  }
}

/** Tells when the time for a request is over; never without a deadline. Returns what cancels that. */
export function afterDeadline(
  clock: Clock,
  deadlineMs: number | undefined,
  tell: (error: HelixError) => void,
): () => void {
  if (deadlineMs === undefined) return () => {}
  return clock.schedule(deadlineMs, () =>
    tell(new HelixError('deadline_exceeded', 'The request took longer than this server allows.')),
  )
}

/** Whether an engine took the request up: one that refused it did not, one that may have died of it did. */
function hasWorked(result: Failure): boolean {
  return (
    result.kind === 'broken' || result.kind === 'aborted' || (result.kind === 'unanswered' && !result.refused)
  )
}

/** Another's server is not to be trusted with the form of its answers. @throws HelixError `upstream_invalid_response` */
function checkWhole(body: Buffer): void {
  const answer: unknown = parseAnswer(body)
  const fields = typeof answer === 'object' && answer !== null ? (answer as Answer) : {}
  if (Array.isArray(fields['choices']) || Array.isArray(fields['data'])) return
  throw new HelixError('upstream_invalid_response', 'The upstream server sent something that is no answer.')
}

function parseAnswer(body: Buffer): Answer {
  try {
    return JSON.parse(body.toString('utf8')) as Answer
  } catch (cause) {
    throw new HelixError('upstream_invalid_response', 'The engine sent an answer that cannot be read.', {
      cause,
    })
  }
}

function collectingSink(collector: Collector): Sink {
  const splitter = new EventSplitter(Number.POSITIVE_INFINITY)
  let collectedBytes = 0
  return {
    write: (bytes) => {
      collectedBytes += bytes.length
      if (collectedBytes > COLLECTED_BYTES_MAX) {
        throw new HelixError('upstream_invalid_response', 'The answer of the engine is too large.')
      }
      for (const event of splitter.push(bytes) ?? []) {
        const data = eventData(event)
        if (data?.startsWith('{')) collector.add(JSON.parse(data) as Answer)
      }
      return true
    },
    drained: () => {},
  }
}
