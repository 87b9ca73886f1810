import type { ConnectRouter, HandlerContext } from '@connectrpc/connect'
import type { AuthClient, TokenIssuer } from '../contracts/auth.ts'
import {
  fromAdministerRequest,
  fromIssueTokenRequest,
  fromUsageMessage,
  toIdentityMessage,
  toTokensMessage,
} from '../contracts/auth-messages.ts'
import { AuthService } from '../contracts/gen/helixflow/v1/auth_pb.ts'
import { fromReserveSpendRequest, fromSpendQueryMessage } from '../contracts/limit-messages.ts'
import type { SpendClient } from '../contracts/limits.ts'
import { pushed } from '../contracts/pushed.ts'
import type { ResponsesStore } from '../contracts/responses-store.ts'
import { answering } from '../contracts/rpc-answers.ts'
import type { UsageSink } from '../contracts/usage.ts'
import type { VectorStore } from '../contracts/vector-store.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { responsesMethods } from './responses-rpc.ts'
import { vectorMethods } from './vector-rpc.ts'

export interface AuthRpcParts {
  readonly auth: AuthClient & TokenIssuer
  readonly usage: UsageSink
  readonly spend: SpendClient
  readonly responses: ResponsesStore
  readonly vectors: VectorStore
  readonly log: Logger
}

/** The auth service's methods, for whatever carries them. */
export function authRoutes({ auth, usage, spend, responses, vectors, log }: AuthRpcParts) {
  const told = answering(log)
  return (router: ConnectRouter): void => {
    router.service(AuthService, {
      verify: ({ credential }) =>
        told(async () => ({ identity: toIdentityMessage(await auth.verify(credential)) })),
      administer: (request) =>
        told(async () => {
          const call = fromAdministerRequest(request)
          if (!call) throw new HelixError('invalid_value', 'The call does not say who makes it.')
          return { output: JSON.stringify(await auth.administer(call)) }
        }),
      issueToken: (request) =>
        told(async () => {
          const grant = fromIssueTokenRequest(request)
          if (!grant) throw new HelixError('invalid_value', 'The request names no grant.')
          return { tokens: toTokensMessage(await auth.issueToken(grant)) }
        }),
      getKeySet: () => told(async () => ({ keySet: JSON.stringify(await auth.keySet()) })),
      startLogin: (request) => told(() => auth.startLogin(request)),
      finishLogin: (request) =>
        told(async () => {
          const { returnTo, ...tokens } = await auth.finishLogin(request)
          return { tokens: toTokensMessage(tokens), returnTo }
        }),
      recordUsage: ({ records }) =>
        told(async () => {
          await usage.record(records.map(fromUsageMessage))
          return {}
        }),
      readSpend: ({ organisationId, queries }) =>
        told(async () => {
          const asked = queries.map(fromSpendQueryMessage).filter((one) => one !== undefined)
          if (asked.length < queries.length) throw noSubject()
          return { spent: (await spend.spent(organisationId, asked)).map(BigInt) }
        }),
      reserveSpend: (request) =>
        told(async () => {
          const reservation = fromReserveSpendRequest(request)
          if (!reservation) throw noSubject()
          const refusedClaim = await spend.reserveSpend(reservation)
          return refusedClaim === undefined ? {} : { refusedClaim }
        }),
      releaseSpend: ({ organisationId, requestIds }) =>
        told(async () => {
          await spend.releaseSpend(organisationId, requestIds)
          return {}
        }),
      ...responsesMethods(responses, told),
      ...vectorMethods(vectors, told),
      checkHealth: () =>
        told(async () => {
          const problem = await auth.problem()
          if (problem) throw problem
          return {}
        }),
      watchRevocations: (_request, context) => revocations(auth, context),
    })
  }
}

function noSubject(): HelixError {
  return new HelixError('invalid_value', 'The request does not say whose money it is about.')
}

function revocations(auth: AuthClient, { signal }: HandlerContext) {
  return pushed<{ subject?: string }>((push) => {
    push({})
    return auth.watchRevocations((subject) => push(subject === undefined ? {} : { subject }))
  }, signal)
}
