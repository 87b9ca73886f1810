import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { StreamHead, StreamStore, StreamWriter } from '../../streams/stream.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { Drain } from '../drain.ts'
import type { Generation, GenerationRequest, RunningGeneration } from '../generation.ts'
import type { Scribe } from './scribe.ts'
import { StreamRecipient } from './stream-recipient.ts'

export interface StreamRunsParts {
  readonly generation: Generation
  readonly store: StreamStore
  readonly drain: Drain
  readonly clock: Clock
  readonly log: Logger
}

/** A generation that is to be read as a stream. Its exchange streams, and asks for usage. */
export interface StreamRequest extends Omit<GenerationRequest, 'recipient' | 'settled'> {
  readonly id: string
  readonly kind: StreamHead['kind']
  readonly detachMs: number
  /** Whether a reader over HTTP gets the usage chunk. */
  readonly includeUsage: boolean
  /** What another gateway needs to go on with it, beside route and user; see `Takeover`. */
  readonly again: object
  /** Told why nothing has come yet, every now and then. */
  notice?(text: string): void
  /** Who writes it down. */
  scribe(writer: StreamWriter): Scribe
}

export interface StartedStream {
  readonly writer: StreamWriter
  /** What it says of itself: its limits at first, and where its answer comes from once it has begun. */
  headers(): Readonly<Record<string, string>>
  /** What it cost, once nothing of it runs any more; undefined when it was never told. */
  readonly ended: Promise<Settlement | undefined>
}

/** Starts generations that nobody in particular waits for: what they bring lies in a stream. */
export class StreamRuns {
  private readonly running = new Set<Promise<void>>()

  constructor(private readonly parts: StreamRunsParts) {}

  /** @throws HelixError as `Generation.begin`: then there is no stream */
  async start(request: StreamRequest): Promise<StartedStream> {
    const { store, clock } = this.parts
    const { id, kind, detachMs, includeUsage, identity, requestId, exchange } = request
    let running: RunningGeneration | undefined
    let cancelled: HelixError | undefined
    const head: StreamHead = {
      id,
      epoch: randomBytes(8).toString('hex'),
      tenant: identity.organisationId,
      projectId: identity.projectId,
      kind,
      requestId,
      model: exchange.model,
      createdAtMs: clock.now(),
      includeUsage,
      detachMs,
      again: JSON.stringify({ ...request.again, route: request.route, user: request.user }),
    }
    const writer = await store.create(head, {
      cancel: (reason) => {
        cancelled = reason
        running?.end(reason)
      },
    })
    const scribe = request.scribe(writer)
    let settlement: Settlement | undefined
    let headers: Readonly<Record<string, string>> = {}
    try {
      running = await this.parts.generation.begin({
        ...request,
        recipient: (given) => {
          headers = given
          return new StreamRecipient(scribe, request.notice)
        },
        settled: (told) => {
          settlement = told
        },
      })
    } catch (reason) {
      await writer.discard()
      throw reason
    }
    if (cancelled) running.end(cancelled)
    const following = this.follow(running, scribe)
    this.running.add(following)
    const ended = following.then(() => {
      this.running.delete(following)
      return settlement
    })
    headers = { ...running.headers, ...headers }
    return { writer, headers: () => headers, ended }
  }

  /** Resolves when everything that ran has ended and is written down; who ends it is the dispatcher. */
  async stop(): Promise<void> {
    await Promise.all(this.running)
  }

  private async follow(running: RunningGeneration, scribe: Scribe): Promise<void> {
    const release = this.parts.drain.hold()
    try {
      await running.work
    } catch (reason) {
      const error = HelixError.from(reason)
      if (error.code === 'internal_error') this.parts.log.error('stream failed', { cause: error.message })
      scribe.fail(error)
    } finally {
      await running.ended
      await scribe.written
      release()
    }
  }
}

/** Unguessable; whose it is is checked all the same. */
export function makeStreamId(prefix: 'str' | 'resp'): string {
  return `${prefix}_${randomBytes(16).toString('hex')}`
}
