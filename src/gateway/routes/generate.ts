import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import { HelixError } from '../../core/errors.ts'
import type { CredentialCache } from '../credential-cache.ts'
import type { Dispatch } from '../dispatch/dispatch.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import { presentedCredential } from '../hooks/authenticate.ts'

/**
 * A route that an engine answers: the body is parsed once against its schema, made into an exchange and dispatched.
 * Authentication has already run: see app.ts.
 */
export function generate<T extends object>(
  { dispatch, credentials }: { dispatch: Dispatch; credentials: CredentialCache },
  schema: z.ZodType<T>,
  toExchange: (request: T) => Exchange,
) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const body = parseRequest(schema, parseJson(request.body as Buffer))
    const exchange = toExchange(body)
    request.model = exchange.model
    request.user = 'user' in body && typeof body.user === 'string' ? body.user : undefined
    mayUseModel(request, exchange.model)
    let release = () => {}
    const work = dispatch.run(exchange, {
      begun: (end) => {
        const { identity } = request
        if (identity) release = credentials.hold(presentedCredential(request), identity, end)
      },
      response: reply.raw,
      headers: () => {
        // From here on the answer is written past the framework.
        reply.hijack()
        return answerHeaders(request, reply, exchange.model)
      },
      settled: (settlement) => {
        request.settlement = settlement
      },
    })
    request.work = work.catch(() => {}).finally(release)
    await work
    return reply
  }
}

/** To who may not use a model it does not exist. */
function mayUseModel({ identity }: FastifyRequest, model: string): void {
  if (identity?.models === undefined || identity.models.includes(model)) return
  throw new HelixError('model_not_found', `The model '${model}' does not exist.`, { param: 'model' })
}

function answerHeaders(request: FastifyRequest, reply: FastifyReply, model: string): Record<string, string> {
  return {
    'x-request-id': request.id,
    'openai-processing-ms': String(Math.round(performance.now() - request.startedMs)),
    'x-helixflow-model': encodeURI(model),
    'x-helixflow-instance': String(reply.getHeader('x-helixflow-instance')),
  }
}
