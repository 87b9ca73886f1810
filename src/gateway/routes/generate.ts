import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { Identity } from '../../contracts/auth.ts'
import { modelNotFound } from '../../contracts/model-not-found.ts'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import { HelixError } from '../../core/errors.ts'
import type { CachingDispatch } from '../caching/caching-dispatch.ts'
import type { Behind } from '../caching/refresh-passenger.ts'
import type { CredentialCache } from '../credential-cache.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import { presentedCredential } from '../hooks/authenticate.ts'
import { makeRequestId } from '../hooks/request-id.ts'
import type { Admission, LimitGate } from '../limits/limit-gate.ts'
import { Payment } from '../limits/payment.ts'
import type { Meter, Ticket } from '../usage/meter.ts'

export interface Running {
  readonly dispatch: CachingDispatch
  readonly meter: Meter
  readonly credentials: CredentialCache
  readonly limits: LimitGate
}

/**
 * A route that an engine answers: the body is parsed once against its schema, made into an exchange and dispatched.
 * Authentication has already run: see app.ts.
 */
export function generate<T extends object>(
  { dispatch, meter, credentials, limits }: Running,
  schema: z.ZodType<T>,
  toExchange: (request: T) => Exchange,
) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const body = parseRequest(schema, parseJson(request.body as Buffer))
    const asked = toExchange(body)
    request.model = asked.model
    request.user = 'user' in body && typeof body.user === 'string' ? body.user : undefined
    mayUseModel(request, asked.model)
    const identity = known(request)
    const admission = await limits.admit({
      requestId: request.id,
      identity,
      exchange: asked,
      response: reply.raw,
    })
    const { exchange } = admission
    const ticket = admitted(() => admit(meter, request, exchange), admission)
    const payment = new Payment(admission)
    let release = () => {}
    const work = dispatch.run(exchange, {
      identity,
      route: request.routeOptions.url ?? '',
      requestHeaders: request.headers,
      behind: (made) => {
        const id = makeRequestId()
        const found = behind(meter, request, made, id)
        if (!found || made === exchange) return found && payment.lend(found)
        const settled = (settlement: Settlement) => {
          found.settled(settlement)
          limits.charge(identity, made.model, { requestId: id, usage: settlement.usage })
        }
        return { ...found, settled }
      },
      begun: (end) => {
        release()
        release = credentials.hold(presentedCredential(request), identity, end)
      },
      response: reply.raw,
      headers: () => {
        // From here on the answer is written past the framework.
        reply.hijack()
        return { ...answerHeaders(request, reply, exchange.model), ...admission.headers }
      },
      settled: (settlement) => {
        ticket.settle(settlement)
        payment.settle(settlement)
        request.settlement = settlement
      },
    })
    request.work = work
      .catch(() => {})
      .finally(() => {
        release()
        ticket.close()
        payment.settle(undefined)
      })
    try {
      await work
    } catch (reason) {
      reply.headers(admission.headers)
      throw reason
    }
    return reply
  }
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

/** To who may not use a model it does not exist. */
function mayUseModel({ identity }: FastifyRequest, model: string): void {
  if (identity?.models === undefined || identity.models.includes(model)) return
  throw modelNotFound(model)
}

/** @throws HelixError `storage_unavailable` when what it costs could not be recorded */
function admit(
  meter: Meter,
  request: FastifyRequest,
  exchange: Exchange,
  requestId: string = request.id,
): Ticket {
  const { routeOptions, startedMs, user } = request
  return meter.admit({
    requestId,
    identity: known(request),
    route: routeOptions.url ?? '',
    model: exchange.model,
    streamed: exchange.stream,
    user,
    startedMs,
  })
}

/** An answer that is made behind this request is a request of its own; it is not made when it cannot be recorded. */
function behind(
  meter: Meter,
  request: FastifyRequest,
  exchange: Exchange,
  requestId: string,
): Behind | undefined {
  try {
    const ticket = admit(meter, request, exchange, requestId)
    return { settled: (settlement) => ticket.settle(settlement), close: () => ticket.close() }
  } catch {
    return undefined
  }
}

function known({ identity }: FastifyRequest): Identity {
  if (identity) return identity
  throw new HelixError('internal_error', 'Internal error.', { internal: 'no identity' })
}

function answerHeaders(request: FastifyRequest, reply: FastifyReply, model: string): Record<string, string> {
  return {
    'x-request-id': request.id,
    'openai-processing-ms': String(Math.round(performance.now() - request.startedMs)),
    'x-helixflow-model': encodeURI(model),
    'x-helixflow-instance': String(reply.getHeader('x-helixflow-instance')),
  }
}
