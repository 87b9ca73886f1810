import type { Dispatcher } from 'undici'
import { HelixError } from '../../core/errors.ts'
import type { EngineClient } from './engine-client.ts'
import type { StreamFilter } from './stream-filter.ts'
import type { Usage } from './usage.ts'

/** Where a stream goes: the client, or something that puts the answer together. */
export interface Sink {
  /** @returns false when it cannot take more until `drained` calls back */
  write(bytes: Buffer): boolean
  drained(resume: () => void): void
}

export interface RelayRequest {
  readonly client: EngineClient
  readonly path: string
  readonly body: string
  readonly signal: AbortSignal
  readonly firstByteTimeoutMs: number
  readonly stallTimeoutMs: number
}

export type RelayResult =
  | { readonly kind: 'complete'; readonly usage: Usage | undefined; readonly body: Buffer }
  /** Nothing came back: the connection could not be made, or broke before the first byte. */
  | { readonly kind: 'unanswered'; readonly refused: boolean; readonly cause: unknown }
  /** The engine answered, and said no. */
  | {
      readonly kind: 'denied'
      readonly status: number
      readonly body: Buffer
      readonly retryAfter: string | undefined
    }
  /** It failed after the answer had begun. */
  | { readonly kind: 'broken'; readonly error: HelixError }
  | { readonly kind: 'aborted' }

const DENIAL_BYTES_MAX = 64 * 1024
const DENIAL_WAIT_MS = 1_000
const DENIED = new HelixError('upstream_invalid_response', 'The engine refused the request.')
const WHOLE_BYTES_MAX = 256 * 2 ** 20

/** Sends a request to an engine and its event stream, through the filter, to the sink. */
export function relayStream(request: RelayRequest, filter: StreamFilter, sink: Sink): Promise<RelayResult> {
  return relay(request, (result) => new StreamReceiver(request, result, filter, sink))
}

/** Sends a request to an engine and keeps the whole answer. */
export function relayWhole(request: RelayRequest): Promise<RelayResult> {
  return relay(request, (result) => new WholeReceiver(request, result))
}

function relay(
  request: RelayRequest,
  receive: (settle: (result: RelayResult) => void) => Dispatcher.DispatchHandler,
): Promise<RelayResult> {
  const { client, path, body, firstByteTimeoutMs, stallTimeoutMs } = request
  return new Promise((settle) => {
    client.dispatcher.dispatch(
      {
        origin: client.origin,
        path: client.basePath + path,
        method: 'POST',
        headers: client.headers,
        body,
        headersTimeout: firstByteTimeoutMs,
        bodyTimeout: stallTimeoutMs,
      },
      receive(settle),
    )
  })
}

type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>

function encodingProblem(headers: AnswerHeaders): string | undefined {
  const encoding = headers['content-encoding']
  return encoding === undefined || encoding === 'identity'
    ? undefined
    : 'The engine compressed its answer unasked.'
}

/** What both kinds of answer have in common: starting, denial, abort and failure. */
abstract class Receiver implements Dispatcher.DispatchHandler {
  private started = false
  private denial: { status: number; retryAfter: string | undefined } | undefined
  private readonly kept: Buffer[] = []
  private keptBytes = 0
  private controller: Dispatcher.DispatchController | undefined
  private readonly onAbort = () => this.controller?.abort(abortError(this.request.signal.reason))

  constructor(
    protected readonly request: RelayRequest,
    private readonly settle: (result: RelayResult) => void,
  ) {}

  protected abstract receive(chunk: Buffer, controller: Dispatcher.DispatchController): void
  protected abstract complete(): RelayResult
  /** Why an answer with these headers is not what was asked for; undefined when it is. */
  protected abstract unfit(headers: AnswerHeaders): string | undefined

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    const { signal } = this.request
    signal.addEventListener('abort', this.onAbort, { once: true })
    if (signal.aborted) this.onAbort()
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: AnswerHeaders): void {
    if (status < 200) return
    this.started = true
    const retryAfter = headers['retry-after']
    if (status === 200) {
      const problem = this.unfit(headers)
      if (problem) controller.abort(new HelixError('upstream_invalid_response', problem))
      return
    }
    this.denial = { status, retryAfter: typeof retryAfter === 'string' ? retryAfter : undefined }
    // What it says is of use, but not worth waiting for.
    setTimeout(() => controller.abort(DENIED), DENIAL_WAIT_MS).unref()
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.denial) this.receive(chunk, controller)
    else if (this.keptBytes < DENIAL_BYTES_MAX) this.keep(chunk)
  }

  onResponseEnd(): void {
    this.finish(this.denial ? { kind: 'denied', ...this.denial, body: this.body() } : this.complete())
  }

  onResponseError(_controller: Dispatcher.DispatchController, cause: Error): void {
    if (this.denial) this.finish({ kind: 'denied', ...this.denial, body: this.body() })
    else if (this.request.signal.aborted) this.finish({ kind: 'aborted' })
    else if (cause instanceof HelixError) this.finish({ kind: 'broken', error: cause })
    else if (isTimeout(cause)) this.finish({ kind: 'broken', error: timeoutError(this.started, cause) })
    else if (this.started) this.finish({ kind: 'broken', error: brokenError(cause) })
    else this.finish({ kind: 'unanswered', refused: isRefusal(cause), cause })
  }

  protected keep(chunk: Buffer): void {
    this.kept.push(chunk)
    this.keptBytes += chunk.length
    if (this.keptBytes > WHOLE_BYTES_MAX) {
      this.controller?.abort(
        new HelixError('upstream_invalid_response', 'The answer of the engine is too large.'),
      )
    }
  }

  protected body(): Buffer {
    return this.kept.length === 1 && this.kept[0] ? this.kept[0] : Buffer.concat(this.kept)
  }

  protected finish(result: RelayResult): void {
    this.request.signal.removeEventListener('abort', this.onAbort)
    this.settle(result)
  }
}

class WholeReceiver extends Receiver {
  protected unfit(headers: AnswerHeaders): string | undefined {
    return encodingProblem(headers)
  }

  protected receive(chunk: Buffer): void {
    this.keep(chunk)
  }

  protected complete(): RelayResult {
    return { kind: 'complete', usage: undefined, body: this.body() }
  }
}

class StreamReceiver extends Receiver {
  constructor(
    request: RelayRequest,
    settle: (result: RelayResult) => void,
    private readonly filter: StreamFilter,
    private readonly sink: Sink,
  ) {
    super(request, settle)
  }

  protected unfit(headers: AnswerHeaders): string | undefined {
    if (String(headers['content-type']).startsWith('text/event-stream')) return encodingProblem(headers)
    return 'The engine did not answer with an event stream.'
  }

  protected receive(chunk: Buffer, controller: Dispatcher.DispatchController): void {
    const bytes = this.filter.push(chunk)
    const takesMore = bytes.length === 0 || this.sink.write(bytes)
    if (this.filter.failure) controller.abort(this.filter.failure)
    // Complete is complete, also when the connection lingers or breaks after it.
    else if (this.filter.done) this.finish(this.complete())
    else if (!takesMore) this.pause(controller)
  }

  protected complete(): RelayResult {
    if (this.filter.done) return { kind: 'complete', usage: this.filter.usage(), body: Buffer.alloc(0) }
    return { kind: 'broken', error: brokenError(undefined) }
  }

  /** A client that stops reading holds a slot of the engine; it gets as long as a silent engine does. */
  private pause(controller: Dispatcher.DispatchController): void {
    controller.pause()
    const stalled = setTimeout(() => {
      controller.abort(new HelixError('deadline_exceeded', 'The client stopped reading the stream.'))
    }, this.request.stallTimeoutMs)
    this.sink.drained(() => {
      clearTimeout(stalled)
      controller.resume()
    })
  }
}

function abortError(reason: unknown): Error {
  return reason instanceof Error ? reason : new HelixError('client_closed_request', 'The client left.')
}

function isTimeout(cause: Error): boolean {
  const code = errorCode(cause)
  return code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT'
}

/** Nobody listens there: the engine did no work at all. */
function isRefusal(cause: Error): boolean {
  return ['ECONNREFUSED', 'ENOENT', 'UND_ERR_CONNECT_TIMEOUT', 'EAI_AGAIN', 'ENOTFOUND'].includes(
    errorCode(cause),
  )
}

function errorCode(cause: Error): string {
  return String((cause as { readonly code?: unknown }).code ?? '')
}

function timeoutError(started: boolean, cause: Error): HelixError {
  if (!started) return new HelixError('upstream_timeout', 'The engine did not answer in time.', { cause })
  return new HelixError('deadline_exceeded', 'The engine fell silent in the middle of its answer.', { cause })
}

function brokenError(cause: unknown): HelixError {
  return new HelixError('engine_failed', 'The engine failed before the answer was complete.', {
    cause,
    internal: `the answer ended early: ${String(cause)}`,
    retryable: false,
  })
}
