import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { callOperation } from '../../contracts/administration/call.ts'
import type { AuthClient, Identity, Operator } from '../../contracts/auth.ts'
import { parseRequest } from '../../contracts/openai/parse.ts'
import { type ExplainedLimit, fromShown } from '../limits/explain.ts'
import type { LimitGate } from '../limits/limit-gate.ts'

const OwnQuery = z.strictObject({ model: z.string().max(256).optional() })
const ExplainQuery = z.strictObject({
  model: z.string().max(256).optional(),
  keyId: z.string().max(64).optional(),
  userId: z.string().max(64).optional(),
  projectId: z.string().max(64).optional(),
})

interface Explanation {
  readonly data: readonly ExplainedLimit[]
}

/** GET /v1/limits: the rules that bind the caller, and what is left of each. */
export function ownLimits(limits: LimitGate, callerOf: (request: FastifyRequest) => Identity) {
  return async (request: FastifyRequest): Promise<Explanation> => {
    const { model } = parseRequest(OwnQuery, request.query)
    const { organisationId, limits: rules } = callerOf(request)
    return { data: await limits.explain(organisationId, rules, model) }
  }
}

/** The same of somebody else, for the operator. */
export function explainLimits(
  auth: AuthClient,
  limits: LimitGate,
  operatorOf: (request: FastifyRequest) => Operator,
) {
  return async (request: FastifyRequest): Promise<Explanation> => {
    const { model, ...party } = parseRequest(ExplainQuery, request.query)
    const operator = operatorOf(request)
    const { data } = await callOperation(auth, operator, 'limits.effective', party)
    return { data: await limits.explain(operator.organisationId, data.map(fromShown), model) }
  }
}
