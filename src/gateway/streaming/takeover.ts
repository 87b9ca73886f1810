import type { ChatRequest } from '../../contracts/openai/chat.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Producer, StreamHead, StreamWriter } from '../../streams/stream.ts'
import type { StreamEvent } from '../../streams/stream-event.ts'
import type { CredentialCache } from '../credential-cache.ts'
import type { Answer } from '../dispatch/exchange.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { Drain } from '../drain.ts'
import type { Generation, RunningGeneration } from '../generation.ts'
import { makeRequestId } from '../hooks/request-id.ts'
import { type GenerationLog, type LoggedGeneration, logGeneration } from '../realtime/generation-log.ts'
import { errorFields } from './chat-scribe.ts'
import { type Continuation, continuation, lostError } from './continuation.ts'
import { MutedWriter } from './muted-writer.ts'
import type { Scribe } from './scribe.ts'
import type { ReadingCaller, StreamReaders } from './stream-readers.ts'
import { StreamRecipient } from './stream-recipient.ts'

/** What a gateway must know to go on with a stream that another began. */
export interface Revival {
  /** As which chat completion it was asked. */
  readonly request: ChatRequest
  readonly route: string
  readonly user: string | undefined
  /** The chunks that its events were made of; undefined where they cannot be told from them. */
  chunks(soFar: readonly StreamEvent[]): readonly Answer[] | undefined
  scribe(writer: StreamWriter): Scribe
  /** It is gone on with from here: its scribe will be told of its end. */
  begun?(): void
}

/** Reads `StreamHead.again`. */
export type Revive = (again: unknown, head: StreamHead, caller: ReadingCaller) => Revival

export interface TakeoverParts extends GenerationLog {
  readonly generation: Pick<Generation, 'begin'>
  readonly credentials: Pick<CredentialCache, 'identify'>
  readonly readers: StreamReaders
  readonly drain: Drain
  readonly clock: Clock
  readonly log: Logger
  readonly revive: Readonly<Record<StreamHead['kind'], Revive>>
}

/**
 * Goes on with streams whose gateway is gone, in the name of somebody who reads them here: they alone are known, may use
 * the model, and want the rest.
 */
export class Takeover {
  constructor(private readonly parts: TakeoverParts) {}

  /** Brings it to an end, with the rest or with an error. Returns what can be told to stop. */
  goOn(writer: StreamWriter, soFar: readonly StreamEvent[]): Producer {
    const stopped = new AbortController()
    void this.run(writer, soFar, stopped.signal).catch((reason: unknown) => {
      const error = HelixError.from(reason)
      this.parts.log.warn('stream not gone on with', { stream: writer.head.id, cause: error.message })
      writer.append('error', JSON.stringify(errorFields(error)))
    })
    return { cancel: (reason) => stopped.abort(reason) }
  }

  private async run(
    writer: StreamWriter,
    soFar: readonly StreamEvent[],
    stopped: AbortSignal,
  ): Promise<void> {
    const { readers, drain, credentials } = this.parts
    const { head } = writer
    const reader = readers.of(head.id)
    if (!reader || head.again === undefined) throw lostError()
    const { credential } = reader
    // As they are now: a connection may have been open for an hour, and their rights and limits are others since.
    const caller = { credential, identity: await credentials.identify(credential) }
    const revival = this.parts.revive[head.kind](JSON.parse(head.again), head, caller)
    const chunks = soFar.length === writer.nextSeq - 1 ? revival.chunks(soFar) : undefined
    if (!chunks) throw lostError()
    const muted = new MutedWriter(writer)
    const scribe = revival.scribe(muted)
    for (const chunk of chunks) scribe.chunk(chunk)
    if (!muted.isLevel) throw lostError()
    const rest = continuation(revival.request, begunBy(chunks))
    revival.begun?.()
    const release = drain.hold()
    try {
      await this.generate(rest, scribe, { revival, caller, stopped })
    } finally {
      release()
    }
  }

  private async generate(
    rest: Continuation,
    scribe: Scribe,
    asked: { readonly revival: Revival; readonly caller: ReadingCaller; readonly stopped: AbortSignal },
  ): Promise<void> {
    const { generation, clock, requests } = this.parts
    const { revival, caller, stopped } = asked
    const { route, user, request } = revival
    const logged: LoggedGeneration = {
      ...{ method: 'CONTINUED', requestId: makeRequestId(), clientRequest: undefined, route, user },
      ...{ identity: caller.identity, startedMs: clock.monotonic(), model: request.model },
    }
    let settlement: Settlement | undefined
    let failure: unknown
    requests.began()
    let running: RunningGeneration | undefined
    const writing = rest.rest({
      chunk: (chunk) => scribe.chunk(chunk),
      complete: () => scribe.complete(),
      fail: (error) => {
        scribe.fail(error)
        // What an engine says beyond it is for nobody.
        running?.end(error)
      },
    })
    try {
      running = await generation.begin({
        identity: caller.identity,
        credential: caller.credential,
        requestId: logged.requestId,
        exchange: rest.exchange,
        route,
        user,
        headers: {},
        startedMs: logged.startedMs,
        client: { gone: false, whenGone: () => () => {} },
        recipient: () => new StreamRecipient(writing),
        settled: (told) => {
          settlement = told
        },
      })
      const { end } = running
      const stop = () => end(stopped.reason as HelixError)
      stopped.addEventListener('abort', stop, { once: true })
      if (stopped.aborted) stop()
      await running.work
    } catch (reason) {
      failure = reason
      scribe.fail(HelixError.from(reason))
    }
    await running?.ended
    logGeneration(this.parts, logged, { nowMs: clock.monotonic(), settlement, failure })
    await scribe.written
  }
}

function begunBy(chunks: readonly Answer[]): { readonly text: string; readonly pieces: number } {
  let text = ''
  let pieces = 0
  for (const chunk of chunks) {
    for (const { delta } of (chunk['choices'] ?? []) as readonly { readonly delta?: Answer }[]) {
      const content = delta?.['content']
      if (typeof content !== 'string' || content === '') continue
      text += content
      pieces++
    }
  }
  return { text, pieces }
}
