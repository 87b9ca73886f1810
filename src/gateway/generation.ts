import type { IncomingHttpHeaders } from 'node:http'
import type { Identity } from '../contracts/auth.ts'
import { modelNotFound } from '../contracts/model-not-found.ts'
import { may } from '../contracts/permissions.ts'
import { HelixError } from '../core/errors.ts'
import type { CachingDispatch } from './caching/caching-dispatch.ts'
import type { Behind } from './caching/refresh-passenger.ts'
import type { CredentialCache } from './credential-cache.ts'
import { withCacheSalt } from './dispatch/cache-salt.ts'
import type { Exchange } from './dispatch/exchange.ts'
import type { AnswerRecipient, Presence } from './dispatch/recipient.ts'
import type { Settlement } from './dispatch/settlement.ts'
import { makeRequestId } from './hooks/request-id.ts'
import type { Admission, LimitGate } from './limits/limit-gate.ts'
import { Payment } from './limits/payment.ts'
import type { GenerationMetrics } from './metrics/generation-metrics.ts'
import type { UsageMinutes } from './realtime/usage-minutes.ts'
import type { Meter, Ticket } from './usage/meter.ts'

export interface GenerationParts {
  readonly dispatch: CachingDispatch
  readonly meter: Meter
  readonly credentials: CredentialCache
  readonly limits: LimitGate
  /** What is told of the present. */
  readonly minutes: UsageMinutes
  readonly counts: GenerationMetrics
}

/** What somebody wants generated, whichever way they came. */
export interface GenerationRequest {
  readonly requestId: string
  readonly identity: Identity
  /** What they were identified by; looked after while the request runs. */
  readonly credential: string
  readonly exchange: Exchange
  /** As records and rules name it. */
  readonly route: string
  /** Their wishes about the cache. */
  readonly headers: IncomingHttpHeaders
  /** The caller's own label for its user. */
  readonly user: string | undefined
  /** When it arrived, on the monotonic clock. */
  readonly startedMs: number
  /** Of its trace; undefined where it has none. */
  readonly traceId?: string | undefined
  /** Whose leaving ends the wait for a turn. */
  readonly client: Presence
  /** Where the answer goes. @param headers what it says of itself */
  recipient(headers: Readonly<Record<string, string>>): AnswerRecipient
  /** Told what it cost, once, before its last bytes. */
  settled(settlement: Settlement): void
}

/** A request that was let in and is on its way. */
export interface RunningGeneration {
  /** What its limits say, for the head of the answer. */
  readonly headers: Readonly<Record<string, string>>
  /** Rejects when it fails before the first byte of an answer. */
  readonly work: Promise<void>
  /** Resolves when nothing of it runs any more. */
  readonly ended: Promise<void>
  /** Ends it from outside. */
  end(reason: HelixError): void
}

/**
 * One request from its admission to its record: it is charged to its limits, written down, dispatched, and ended when the
 * credential behind it ends.
 */
export class Generation {
  constructor(private readonly parts: GenerationParts) {}

  /**
   * Resolves when the request is let in and has been sent on its way.
   * @throws HelixError `model_not_found`, `insufficient_permissions`, those of `LimitGate.admit`, and
   *   `storage_unavailable` when what it costs could not be recorded
   */
  async begin(request: GenerationRequest): Promise<RunningGeneration> {
    const { limits, meter } = this.parts
    mayGenerate(request)
    const { requestId, identity, client } = request
    const exchange = withCacheSalt(request.exchange, [identity.organisationId, identity.projectId])
    const admission = await limits.admit({ requestId, identity, exchange, client })
    const ticket = admitted(() => ticketFor(meter, request, admission.exchange), admission)
    return this.run(request, admission, ticket)
  }

  private run(request: GenerationRequest, admission: Admission, ticket: Ticket): RunningGeneration {
    const { dispatch, credentials, counts } = this.parts
    const { identity, credential, route, headers, startedMs, traceId } = request
    const { model } = admission.exchange
    const payment = new Payment(admission)
    let release = () => {}
    let end: (reason: HelixError) => void = () => {}
    const work = dispatch.run(admission.exchange, {
      identity,
      tenant: identity.projectId,
      route,
      requestHeaders: headers,
      behind: (made) => this.behind(request, admission, made, payment),
      begun: (ending) => {
        end = ending
        release()
        release = credentials.hold(credential, identity, ending)
      },
      recipient: (more) => request.recipient({ ...admission.headers, ...more }),
      settled: (settlement) => {
        const cost = ticket.settle(settlement)
        counts.settled({ identity, model, startedMs, traceId, settlement, cost })
        payment.settle(settlement)
        this.parts.minutes.add(identity, settlement)
        request.settled(settlement)
      },
    })
    const ended = work
      .catch(() => {})
      .finally(() => {
        release()
        ticket.close()
        payment.settle(undefined)
      })
    return { headers: admission.headers, work, ended, end: (reason) => end(reason) }
  }

  /** An answer that is made behind this request is a request of its own; it is not made when it cannot be recorded. */
  private behind(
    request: GenerationRequest,
    admission: Admission,
    made: Exchange,
    payment: Payment,
  ): Behind | undefined {
    const requestId = makeRequestId()
    const ticket = this.ticketBehind({ ...request, requestId }, made)
    if (!ticket) return undefined
    const close = () => ticket.close()
    const tenant = request.identity.projectId
    const recorded = (settlement: Settlement) => {
      const cost = ticket.settle(settlement)
      this.parts.counts.used({ identity: request.identity, model: made.model, settlement, cost })
    }
    if (made === admission.exchange) return payment.lend({ tenant, settled: recorded, close })
    const settled = (settlement: Settlement) => {
      recorded(settlement)
      this.parts.limits.charge(request.identity, made.model, { requestId, usage: settlement.usage })
    }
    return { tenant, settled, close }
  }

  private ticketBehind(request: GenerationRequest, made: Exchange): Ticket | undefined {
    try {
      return ticketFor(this.parts.meter, request, made)
    } catch {
      return undefined
    }
  }
}

/** To who may not use a model it does not exist. */
function mayGenerate({ identity, exchange: { model } }: GenerationRequest): void {
  if (!may(identity.rights, 'inference', identity.projectId)) {
    throw new HelixError(
      'insufficient_permissions',
      "This credential does not have the permission 'inference'.",
    )
  }
  if (identity.models !== undefined && !identity.models.includes(model)) throw modelNotFound(model)
}

/** What was reserved is given back where the request goes no further. */
function admitted<Result>(next: () => Result, admission: Admission): Result {
  try {
    return next()
  } catch (reason) {
    admission.settle(undefined)
    throw reason
  }
}

/** @throws HelixError `storage_unavailable` when what it costs could not be recorded */
function ticketFor(meter: Meter, request: GenerationRequest, exchange: Exchange): Ticket {
  const { requestId, identity, route, user, startedMs } = request
  const { model, stream } = exchange
  return meter.admit({ requestId, identity, route, model, streamed: stream, user, startedMs })
}
