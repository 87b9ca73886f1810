import type { Identity } from '../contracts/auth.ts'
import { effectiveLimits } from '../contracts/limits.ts'
import { rightsOf, rightsOfKey } from '../contracts/permissions.ts'
import { HelixError } from '../core/errors.ts'
import { findKeyCredential, type KeyCredential } from '../storage/keys.ts'
import type { TenantQueries } from '../storage/tenancy.ts'
import { apiKeyHmac, apiKeyId, hmacMatches } from './api-keys.ts'

/** What a good key needs to be one, and when. */
interface Circumstances {
  readonly pepper: Buffer
  readonly nowMs: number
}

/** The id in a credential that has the form of an API key. @throws HelixError `invalid_api_key` before any I/O */
export function apiKeyIdOf(presented: string): string {
  const id = apiKeyId(presented)
  if (id === undefined) throw invalidApiKey()
  return id
}

/**
 * Whose key this is.
 * @throws HelixError `invalid_api_key`, `api_key_revoked`, `api_key_disabled`, `api_key_expired`
 */
export async function verifyKey(
  queries: TenantQueries,
  presented: string,
  { pepper, nowMs }: Circumstances,
): Promise<Identity> {
  const credential = await findKeyCredential(queries, apiKeyIdOf(presented))
  // From the outside a key that does not exist is one whose secret is wrong: one answer, one cost.
  if (!hmacMatches(apiKeyHmac(presented, pepper), credential?.key.secretHmac) || !credential)
    throw invalidApiKey()
  return identityOfKey(credential, nowMs)
}

/** @throws HelixError `api_key_revoked`, `api_key_disabled`, `api_key_expired` */
export function identityOfKey(credential: KeyCredential, nowMs: number): Identity {
  const { key, disabled, ownerGrants, limitRules } = credential
  if (key.revokedAtMs !== undefined) {
    throw new HelixError('api_key_revoked', 'This API key has been revoked. Use another one.')
  }
  const ownerless = ownerGrants?.length === 0
  if (disabled || ownerless) {
    throw new HelixError(
      'api_key_disabled',
      'This API key is disabled, because its owner, project or organisation is. Ask whoever administers it.',
    )
  }
  if (key.expiresAtMs !== undefined && key.expiresAtMs <= nowMs) {
    throw new HelixError('api_key_expired', 'This API key has expired. Create a new one.')
  }
  const { organisationId, projectId, userId, serviceAccountId } = key
  const owners = [userId, serviceAccountId].filter((one) => one !== undefined)
  return {
    actor: serviceAccountId === undefined ? `key:${key.id}` : `service_account:${serviceAccountId}`,
    organisationId,
    projectId,
    keyId: key.id,
    userId,
    rights: rightsOfKey(key.scopes, projectId, ownerGrants && rightsOf(ownerGrants)),
    models: key.models,
    ipRules: key.ipRules,
    limits: effectiveLimits(limitRules, { organisationId, projectId, keyId: key.id, userId }),
    expiresAtMs: key.expiresAtMs,
    subjects: [key.id, organisationId, projectId, ...owners],
  }
}

function invalidApiKey(): HelixError {
  return new HelixError('invalid_api_key', 'Incorrect API key provided. `helixflow keys create` makes one.')
}
