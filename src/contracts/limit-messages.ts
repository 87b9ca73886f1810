import { create } from '@bufbuild/protobuf'
import {
  type EffectiveLimit as EffectiveLimitMessage,
  EffectiveLimitSchema,
  type LimitSubject as LimitSubjectMessage,
  type ReserveSpendRequest,
  ReserveSpendRequestSchema,
  type SpendQuery as SpendQueryMessage,
  SpendQuerySchema,
} from './gen/helixflow/v1/auth_pb.ts'
import {
  BUDGET_PERIODS,
  type EffectiveLimit,
  LIMIT_ALGORITHMS,
  LIMIT_HOLDERS,
  type LimitSubject,
  MEASURES,
  type SpendQuery,
  type SpendReservation,
} from './limits.ts'

// Limits and spend, between this program's own types and those of the wire.

export function toLimitMessage(limit: EffectiveLimit): EffectiveLimitMessage {
  const { ruleId, subject, measure, model, algorithm, burst, period } = limit
  return create(EffectiveLimitSchema, {
    ruleId,
    subject,
    measure,
    amount: BigInt(limit.amount),
    algorithm,
    windowMs: BigInt(limit.windowMs),
    shapeMaxWaitMs: BigInt(limit.shapeMaxWaitMs),
    ...(model === undefined ? {} : { model }),
    ...(burst === undefined ? {} : { burst: BigInt(burst) }),
    ...(period === undefined ? {} : { period }),
  })
}

/** Nothing for a rule of a newer service that counts what this program does not know how to count. */
export function fromLimitMessage(message: EffectiveLimitMessage): readonly EffectiveLimit[] {
  const subject = fromSubjectMessage(message.subject)
  const measure = MEASURES.find((one) => one === message.measure)
  const algorithm = LIMIT_ALGORITHMS.find((one) => one === message.algorithm)
  const period = BUDGET_PERIODS.find((one) => one === message.period)
  if (!subject || !measure || !algorithm || (measure === 'money' && !period)) return []
  return [
    {
      ruleId: message.ruleId,
      subject,
      measure,
      model: message.model,
      amount: Number(message.amount),
      algorithm,
      windowMs: Number(message.windowMs),
      burst: message.burst === undefined ? undefined : Number(message.burst),
      period,
      shapeMaxWaitMs: Number(message.shapeMaxWaitMs),
    },
  ]
}

export function toSpendQueryMessage({ subject, model, sinceMs }: SpendQuery): SpendQueryMessage {
  const rest = model === undefined ? {} : { model }
  return create(SpendQuerySchema, { subject, sinceMs: BigInt(sinceMs), ...rest })
}

/** Undefined when it does not say whose money it asks about. */
export function fromSpendQueryMessage(message: SpendQueryMessage | undefined): SpendQuery | undefined {
  const subject = fromSubjectMessage(message?.subject)
  return message && subject && { subject, model: message.model, sinceMs: Number(message.sinceMs) }
}

export function toReserveSpendRequest(reservation: SpendReservation): ReserveSpendRequest {
  const { organisationId, requestId, expiresAtMs, claims } = reservation
  return create(ReserveSpendRequestSchema, {
    organisationId,
    requestId,
    expiresAtMs: BigInt(Math.ceil(expiresAtMs)),
    claims: claims.map(({ amount, cost, ...budget }) => ({
      budget: toSpendQueryMessage(budget),
      amount: BigInt(amount),
      cost: BigInt(cost),
    })),
  })
}

/** Undefined when one of its claims does not say whose money it is about. */
export function fromReserveSpendRequest(message: ReserveSpendRequest): SpendReservation | undefined {
  const { organisationId, requestId, expiresAtMs } = message
  const claims = message.claims.flatMap(({ budget, amount, cost }) => {
    const query = fromSpendQueryMessage(budget)
    return query ? [{ ...query, amount: Number(amount), cost: Number(cost) }] : []
  })
  if (claims.length < message.claims.length) return undefined
  return { organisationId, requestId, expiresAtMs: Number(expiresAtMs), claims }
}

function fromSubjectMessage(message: LimitSubjectMessage | undefined): LimitSubject | undefined {
  const kind = LIMIT_HOLDERS.find((one) => one === message?.kind)
  return message && kind && { kind, id: message.id }
}
