import { create } from '@bufbuild/protobuf'
import type { AdministrationCall, Caller, Identity, IssuedTokens, TokenRequest } from './auth.ts'
import {
  type AdministerRequest,
  AdministerRequestSchema,
  ApiKeyGrantSchema,
  type Identity as IdentityMessage,
  IdentitySchema,
  type IssuedTokens as IssuedTokensMessage,
  IssuedTokensSchema,
  type IssueTokenRequest,
  IssueTokenRequestSchema,
  PasswordGrantSchema,
  RefreshTokenGrantSchema,
  type UsageRecord as UsageRecordMessage,
  UsageRecordSchema,
} from './gen/helixflow/v1/auth_pb.ts'
import { fromLimitMessage, toLimitMessage } from './limit-messages.ts'
import { PERMISSIONS, type Permission } from './permissions.ts'
import type { UsageRecord } from './usage.ts'

// What the auth service says and hears, between this program's own types and those of the wire.

export function toIdentityMessage(identity: Identity): IdentityMessage {
  const { rights, models, ipRules, keyId, userId, expiresAtMs } = identity
  return create(IdentitySchema, {
    actor: identity.actor,
    organisationId: identity.organisationId,
    projectId: identity.projectId,
    organisationPermissions: [...rights.organisation],
    projectPermissions: Object.fromEntries(
      Object.entries(rights.projects).map(([id, permissions]) => [id, { permissions: [...permissions] }]),
    ),
    subjects: [...identity.subjects],
    limits: identity.limits.map(toLimitMessage),
    ...(keyId === undefined ? {} : { keyId }),
    ...(userId === undefined ? {} : { userId }),
    ...(models === undefined ? {} : { models: { names: [...models] } }),
    ...(ipRules === undefined ? {} : { ipRules: { names: [...ipRules] } }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs: BigInt(Math.ceil(expiresAtMs)) }),
  })
}

export function fromIdentityMessage(message: IdentityMessage): Identity {
  return {
    actor: message.actor,
    organisationId: message.organisationId,
    projectId: message.projectId,
    keyId: message.keyId,
    userId: message.userId,
    rights: {
      organisation: known(message.organisationPermissions),
      projects: Object.fromEntries(
        Object.entries(message.projectPermissions).map(([id, { permissions }]) => [id, known(permissions)]),
      ),
    },
    models: message.models?.names,
    ipRules: message.ipRules?.names,
    limits: message.limits.flatMap(fromLimitMessage),
    expiresAtMs: message.expiresAtMs === undefined ? undefined : Number(message.expiresAtMs),
    subjects: message.subjects,
  }
}

export function toAdministerRequest(call: AdministrationCall): AdministerRequest {
  const { requestId, source, idempotencyKey } = call
  return create(AdministerRequestSchema, {
    caller: toCallerMessage(call.caller),
    operation: call.operation,
    input: JSON.stringify(call.input),
    ...(requestId === undefined ? {} : { requestId }),
    ...(source === undefined ? {} : { source }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  })
}

/** Undefined when it does not say for whom it is. */
export function fromAdministerRequest(message: AdministerRequest): AdministrationCall | undefined {
  const { operation, requestId, source, idempotencyKey } = message
  const caller = fromCallerMessage(message.caller)
  return caller && { caller, operation, input: JSON.parse(message.input), requestId, source, idempotencyKey }
}

export function toIssueTokenRequest(request: TokenRequest): IssueTokenRequest {
  return create(IssueTokenRequestSchema, { grant: toGrantMessage(request) })
}

/** Undefined when it names no grant. */
export function fromIssueTokenRequest({ grant }: IssueTokenRequest): TokenRequest | undefined {
  switch (grant.case) {
    case 'apiKey':
      return { grantType: 'api_key', apiKey: grant.value.apiKey }
    case 'password': {
      const { email, password, organisationId } = grant.value
      return { grantType: 'password', email, password, organisationId }
    }
    case 'refreshToken':
      return { grantType: 'refresh_token', refreshToken: grant.value.refreshToken }
    default:
      return undefined
  }
}

export function toTokensMessage({ accessToken, expiresInSeconds, refreshToken }: IssuedTokens) {
  const rest = refreshToken === undefined ? {} : { refreshToken }
  return create(IssuedTokensSchema, { accessToken, expiresInSeconds, ...rest })
}

export function fromTokensMessage({
  accessToken,
  expiresInSeconds,
  refreshToken,
}: IssuedTokensMessage): IssuedTokens {
  return { accessToken, expiresInSeconds, refreshToken }
}

export function toUsageMessage({
  firstTokenMs,
  errorCode,
  user,
  userId,
  cache,
  ...record
}: UsageRecord): UsageRecordMessage {
  return create(UsageRecordSchema, {
    ...record,
    startedAtMs: BigInt(Math.round(record.startedAtMs)),
    promptTokens: BigInt(record.promptTokens),
    completionTokens: BigInt(record.completionTokens),
    cachedTokens: BigInt(record.cachedTokens),
    cost: BigInt(record.cost),
    ...(firstTokenMs === undefined ? {} : { firstTokenMs }),
    ...(errorCode === undefined ? {} : { errorCode }),
    ...(user === undefined ? {} : { user }),
    ...(userId === undefined ? {} : { userId }),
    ...(cache === undefined ? {} : { cache }),
  })
}

export function fromUsageMessage({ $typeName, $unknown, ...message }: UsageRecordMessage): UsageRecord {
  return {
    ...message,
    startedAtMs: Number(message.startedAtMs),
    promptTokens: Number(message.promptTokens),
    completionTokens: Number(message.completionTokens),
    cachedTokens: Number(message.cachedTokens),
    cost: Number(message.cost),
    cache: CACHE_USES.find((one) => one === message.cache),
  }
}

const CACHE_USES = ['hit', 'coalesced'] as const

type CallerMessage = AdministerRequest['caller']

function toCallerMessage(caller: Caller): CallerMessage {
  if ('rights' in caller) return { case: 'identity', value: toIdentityMessage(caller) }
  return { case: 'operatorOrganisationId', value: caller.organisationId }
}

function fromCallerMessage(caller: CallerMessage): Caller | undefined {
  switch (caller.case) {
    case 'identity':
      return fromIdentityMessage(caller.value)
    case 'operatorOrganisationId':
      return { actor: 'operator', organisationId: caller.value }
    default:
      return undefined
  }
}

function toGrantMessage(request: TokenRequest): IssueTokenRequest['grant'] {
  switch (request.grantType) {
    case 'api_key':
      return { case: 'apiKey', value: create(ApiKeyGrantSchema, { apiKey: request.apiKey }) }
    case 'password': {
      const { email, password, organisationId } = request
      const rest = organisationId === undefined ? {} : { organisationId }
      return { case: 'password', value: create(PasswordGrantSchema, { email, password, ...rest }) }
    }
    case 'refresh_token': {
      const { refreshToken } = request
      return { case: 'refreshToken', value: create(RefreshTokenGrantSchema, { refreshToken }) }
    }
  }
}

/** A newer service may know permissions that this one has no use for. */
function known(names: readonly string[]): readonly Permission[] {
  return PERMISSIONS.filter((one) => names.includes(one))
}
