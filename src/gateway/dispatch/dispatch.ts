import type { ServerResponse } from 'node:http'
import { EventSplitter, eventData } from '../../contracts/sse.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { denialError } from './denial.ts'
import type { EngineClients } from './engine-client.ts'
import { EventStream } from './event-stream.ts'
import type { Answer, Collector, Exchange } from './exchange.ts'
import { type RelayRequest, type RelayResult, relayStream, relayWhole, type Sink } from './relay.ts'
import type { Lease, Router } from './router.ts'
import { StreamFilter } from './stream-filter.ts'
import { findUsage, NO_USAGE, type Usage, UsageTally, usageField } from './usage.ts'

export interface DispatchOptions {
  readonly router: Router
  readonly clients: EngineClients
  readonly clock: Clock
  readonly firstByteTimeoutMs: number
  readonly stallTimeoutMs: number
  readonly requestDeadlineMs: number
  /** How often a stream that waits for its model is told so. */
  readonly waitNoticeMs: number
  explainWait(model: string): Promise<string>
}

/** The client's side of one request. */
export interface Caller {
  readonly response: ServerResponse
  /** Told once, at the start, how to end the request from outside. */
  begun(end: (reason: HelixError) => void): void
  /** Headers of every answer; called once, when the answer begins. */
  headers(exchange: Exchange): Readonly<Record<string, string>>
  /** Told once, however the request ends. */
  settled(result: Settlement): void
}

export interface Settlement {
  readonly usage: Usage
  readonly error: HelixError | undefined
}

/** A reset connection may mean that the request killed the engine; it gets one more engine, not more. */
const LOST_ENGINES_MAX = 1
const ATTEMPTS_MAX = 6

const COLLECTED_BYTES_MAX = 64 * 2 ** 20

const ONE_WRITE_BYTES_MAX = 16 * 1024
const UNREAD_BYTES_MAX = 64 * 1024
const UNREAD_TIMEOUT_MS = 30_000

/**
 * Carries a request to an engine and the answer back: waits for a replica, relays, tries again while nothing has been
 * generated, and stops the engine as soon as the client leaves.
 */
export class Dispatch {
  private readonly running = new Map<AbortController, Promise<void>>()

  constructor(private readonly options: DispatchOptions) {}

  /** @throws HelixError when the request fails before the first byte of an answer was sent */
  async run(exchange: Exchange, caller: Caller): Promise<void> {
    const abort = new AbortController()
    caller.begun((reason) => abort.abort(reason))
    const running = this.carry(exchange, caller, abort)
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

  private async carry(exchange: Exchange, caller: Caller, abort: AbortController): Promise<void> {
    const { response } = caller
    const onClose = () => {
      if (!response.writableFinished) abort.abort(new HelixError('client_closed_request', 'The client left.'))
    }
    response.once('close', onClose)
    if (response.destroyed) onClose()
    const cancelDeadline = this.options.clock.schedule(this.options.requestDeadlineMs, () => {
      abort.abort(new HelixError('deadline_exceeded', 'The request took longer than this server allows.'))
    })
    const stream = exchange.stream ? new EventStream(response, () => caller.headers(exchange)) : undefined
    try {
      const usage = await this.attempt(exchange, caller, stream, abort.signal)
      caller.settled({ usage, error: undefined })
    } catch (reason) {
      const error = HelixError.from(reason)
      caller.settled({ usage: NO_USAGE, error })
      if (!response.destroyed && !stream?.committed) throw error
      if (stream?.committed && !response.destroyed) stream.fail(error)
    } finally {
      cancelDeadline()
      stream?.leave()
      response.removeListener('close', onClose)
    }
  }

  private async attempt(
    exchange: Exchange,
    caller: Caller,
    stream: EventStream | undefined,
    signal: AbortSignal,
  ): Promise<Usage> {
    const lostEngines = new Set<string>()
    for (let attempt = 1; ; attempt++) {
      const lease = await this.lease(exchange, stream, signal)
      try {
        const result = stream
          ? await this.stream(exchange, lease, stream, { response: caller.response, signal })
          : await this.whole(exchange, lease, caller, signal)
        if (!('kind' in result)) return result
        if (result.kind !== 'unanswered') throw failureOf(result, exchange, lease, signal)
        const { id, engine } = lease.replica
        if (engine === 'upstream' && attempt > 1) throw unansweredError(lease, result.cause)
        // The first reset may only be an idle connection that the engine had closed; after a second it is passed over.
        const isDown = result.refused || lostEngines.has(id)
        if (isDown && engine === 'llama-server') this.options.router.suspect(id)
        if (!result.refused) lostEngines.add(id)
        const givesUp = lostEngines.size > LOST_ENGINES_MAX || attempt >= ATTEMPTS_MAX
        if (givesUp) throw unansweredError(lease, result.cause)
      } finally {
        lease.release()
      }
    }
  }

  /** Waits for a replica; a stream is told every now and then what it waits for. */
  private async lease(
    exchange: Exchange,
    stream: EventStream | undefined,
    signal: AbortSignal,
  ): Promise<Lease> {
    const waiting = this.options.router.lease({ model: exchange.model, slots: exchange.choices, signal })
    if (!stream) return waiting
    const notice = setInterval(() => {
      void this.options.explainWait(exchange.model).then((reason) => {
        if (!signal.aborted) stream.comment(reason)
      })
    }, this.options.waitNoticeMs)
    try {
      return await waiting
    } finally {
      clearInterval(notice)
    }
  }

  private async stream(
    exchange: Exchange,
    lease: Lease,
    stream: EventStream,
    { response, signal }: { response: ServerResponse; signal: AbortSignal },
  ): Promise<Usage | Failure> {
    const filter = new StreamFilter(exchange, exchange.rewrite?.(lease.replica))
    const sink: Sink = {
      write: (bytes) => stream.write(bytes),
      drained: (resume) => response.once('drain', resume),
    }
    const result = await relayStream(this.request(exchange, lease, true, signal), filter, sink)
    if (result.kind !== 'complete') return result
    stream.end()
    return result.usage ?? NO_USAGE
  }

  private async whole(
    exchange: Exchange,
    lease: Lease,
    caller: Caller,
    signal: AbortSignal,
  ): Promise<Usage | Failure> {
    if (exchange.collect) return this.collected(exchange, lease, caller, signal)
    const result = await relayWhole(this.request(exchange, lease, false, signal))
    if (result.kind !== 'complete') return result
    if (lease.replica.engine === 'upstream') checkWhole(result.body)
    const tally = new UsageTally()
    tally.add(findUsage(result.body), 0)
    const rewrite = exchange.rewrite?.(lease.replica)
    sendWhole(
      caller,
      exchange,
      rewrite ? Buffer.from(JSON.stringify(rewrite.whole(parseAnswer(result.body)))) : result.body,
    )
    return tally.total() ?? NO_USAGE
  }

  private async collected(
    exchange: Exchange,
    lease: Lease,
    caller: Caller,
    signal: AbortSignal,
  ): Promise<Usage | Failure> {
    const collector = exchange.collect?.()
    if (!collector)
      throw new HelixError('internal_error', 'Internal error.', { internal: 'nothing to collect with' })
    const filter = new StreamFilter({ ...exchange, includeUsage: false }, undefined)
    const result = await relayStream(
      this.request(exchange, lease, true, signal),
      filter,
      collectingSink(collector),
    )
    if (result.kind !== 'complete') return result
    const usage = result.usage ?? NO_USAGE
    const answer = { ...collector.answer(), usage: usageField(usage) }
    const rewrite = exchange.rewrite?.(lease.replica)
    sendWhole(caller, exchange, Buffer.from(JSON.stringify(rewrite ? rewrite.whole(answer) : answer)))
    return usage
  }

  private request(exchange: Exchange, lease: Lease, stream: boolean, signal: AbortSignal): RelayRequest {
    const { clients, firstByteTimeoutMs, stallTimeoutMs, requestDeadlineMs } = this.options
    return {
      client: clients.get(lease.replica),
      path: exchange.path,
      body: JSON.stringify(exchange.body(lease.replica, { stream })),
      signal,
      // A whole answer begins when it is finished.
      firstByteTimeoutMs: stream ? firstByteTimeoutMs : requestDeadlineMs,
      stallTimeoutMs,
    }
  }
}

type Failure = Exclude<RelayResult, { kind: 'complete' }>

function failureOf(
  result: Exclude<Failure, { kind: 'unanswered' }>,
  exchange: Exchange,
  lease: Lease,
  signal: AbortSignal,
): unknown {
  switch (result.kind) {
    case 'denied':
      return denialError(result, lease.replica.engine, exchange)
    case 'broken':
      return result.error
    case 'aborted':
      return signal.reason
  }
}

function unansweredError(lease: Lease, cause: unknown): HelixError {
  const internal = `no answer from ${lease.replica.id}: ${String(cause)}`
  if (lease.replica.engine === 'upstream') {
    return new HelixError('upstream_unavailable', 'The upstream server cannot be reached.', {
      internal,
      cause,
      retryAfterMs: 1_000,
    })
  }
  return new HelixError('engine_failed', 'The engine failed before it answered.', {
    internal,
    cause,
    retryAfterMs: 1_000,
  })
}

function sendWhole({ response, headers }: Caller, exchange: Exchange, body: Buffer): void {
  response.writeHead(200, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': body.length,
    ...headers(exchange),
  })
  // A small body goes out in one write with its headers when it is a string; latin1 keeps its bytes as they are.
  if (body.length <= ONE_WRITE_BYTES_MAX) response.end(body.toString('latin1'), 'latin1')
  else response.end(body)
  // What the client does not take is held in memory, and not for ever.
  if (response.writableLength > UNREAD_BYTES_MAX)
    response.setTimeout(UNREAD_TIMEOUT_MS, () => response.destroy())
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
