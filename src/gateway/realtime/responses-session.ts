import type { Identity } from '../../contracts/auth.ts'
import type { InputItem } from '../../contracts/openai/response-items.ts'
import type { ResponseRequest } from '../../contracts/openai/responses.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Stream } from '../../streams/stream.ts'
import type { Presence } from '../dispatch/recipient.ts'
import { makeRequestId } from '../hooks/request-id.ts'
import type { ResponseObject } from '../responses/response-object.ts'
import type { ResponseRuns } from '../responses/response-runs.ts'
import { makeStreamId } from '../streaming/stream-runs.ts'
import { STREAMS_MAX } from './connection-limits.ts'
import { type GenerationLog, type LoggedGeneration, logGeneration } from './generation-log.ts'
import { socketResponseRequest } from './response-request.ts'
import type { Said } from './speaker.ts'

export interface ResponsesSessionParts extends GenerationLog {
  readonly responses: Pick<ResponseRuns, 'start'>
  readonly caller: { identify(): Identity | Promise<Identity>; readonly credential: string }
  readonly client: Presence
  readonly clock: Clock
  /**
   * Sends the events of a response. Resolves with the response when the last was sent; with nothing when it did not come to
   * that.
   */
  follow(stream: Stream, lane: string | undefined): Promise<ResponseObject | undefined>
  refuse(error: HelixError, lane: string | undefined): void
}

const ROUTE = '/v1/responses (WebSocket)'
/** Conversations that only this connection knows. */
const REMEMBERED_MAX = 16
const LANE = /^[\x21-\x7e]{1,128}$/

/**
 * What one client of the Responses API says on its socket: responses of one lane are made one after the other, lanes
 * beside each other, and what was not to be kept can be continued here.
 */
export class ResponsesSession {
  private readonly lanes = new Map<string | undefined, Promise<void>>()
  private readonly remembered = new Map<string, readonly InputItem[]>()
  private asked = 0

  constructor(private readonly parts: ResponsesSessionParts) {}

  /** Responses that have not ended, those that wait for their lane among them. */
  get size(): number {
    return this.asked
  }

  /** A message `response.create`. Resolves when its response has begun, or was refused; never rejects. */
  create({ type: _, stream_id: lane, ...body }: Said): Promise<void> {
    let request: ResponseRequest
    try {
      request = this.read(lane, body)
    } catch (reason) {
      this.parts.refuse(HelixError.from(reason), laneOf(lane))
      return Promise.resolve()
    }
    return this.inLane(laneOf(lane), request)
  }

  private read(lane: unknown, body: Said): ResponseRequest {
    if (lane !== undefined && laneOf(lane) === undefined) {
      throw new HelixError(
        'invalid_value',
        "Invalid value: 'stream_id': must be 1 to 128 printable characters.",
        {
          param: 'stream_id',
        },
      )
    }
    if (this.asked >= STREAMS_MAX) {
      const message = `A connection has ${STREAMS_MAX} responses on their way at most.`
      throw new HelixError('concurrency_limit_exceeded', message, { retryAfterMs: 1_000 })
    }
    return socketResponseRequest(body)
  }

  private inLane(lane: string | undefined, request: ResponseRequest): Promise<void> {
    this.asked++
    return new Promise((begun) => {
      const before = this.lanes.get(lane) ?? Promise.resolve()
      const turn = before
        .then(() => this.make(lane, request, begun))
        .finally(() => {
          this.asked--
          begun()
          if (this.lanes.get(lane) === turn) this.lanes.delete(lane)
        })
      this.lanes.set(lane, turn)
    })
  }

  private async make(lane: string | undefined, request: ResponseRequest, begun: () => void): Promise<void> {
    const { client, refuse, follow } = this.parts
    if (client.gone) return
    try {
      const { stream, conversation } = await this.start(request)
      begun()
      const response = await follow(stream, lane)
      if (response && canBeContinued(response) && this.isKnownHereAlone(response))
        this.remember(response, conversation)
    } catch (reason) {
      refuse(HelixError.from(reason), lane)
    }
  }

  private async start(request: ResponseRequest) {
    const { responses, caller, client, clock, requests } = this.parts
    const logged: LoggedGeneration = {
      requestId: makeRequestId(),
      clientRequest: undefined,
      route: ROUTE,
      identity: await caller.identify(),
      startedMs: clock.monotonic(),
      model: request.model,
      user: request.user ?? request.safety_identifier ?? undefined,
    }
    requests.began()
    const log = (outcome: object) =>
      logGeneration(this.parts, logged, { nowMs: clock.monotonic(), settlement: undefined, ...outcome })
    try {
      const { stream, conversation } = await responses.start({
        id: makeStreamId('resp'),
        request,
        // Whoever leaves has no way back to it.
        detachMs: 0,
        requestId: logged.requestId,
        identity: logged.identity,
        credential: caller.credential,
        route: ROUTE,
        headers: {},
        startedMs: logged.startedMs,
        client,
        remembered: (id) => this.remembered.get(id),
      })
      void stream.ended.then((settlement) => log({ settlement }))
      return { stream: stream.writer.stream, conversation }
    } catch (failure) {
      log({ failure })
      throw failure
    }
  }

  /** What was kept of a conversation whose beginning was not is of no use elsewhere. */
  private isKnownHereAlone({ store, previous_response_id: before }: ResponseObject): boolean {
    return !store || (before !== null && this.remembered.has(before))
  }

  private remember({ id, output }: ResponseObject, conversation: readonly InputItem[]): void {
    this.remembered.set(id, [...conversation, ...(output as unknown as readonly InputItem[])])
    const [oldest] = this.remembered.keys()
    if (this.remembered.size > REMEMBERED_MAX && oldest !== undefined) this.remembered.delete(oldest)
  }
}

/** As of one that was kept: see `conversationUpTo`. */
function canBeContinued({ status }: ResponseObject): boolean {
  return status === 'completed' || status === 'incomplete'
}

/** Undefined for what is no name of a lane. */
function laneOf(lane: unknown): string | undefined {
  return typeof lane === 'string' && LANE.test(lane) ? lane : undefined
}
