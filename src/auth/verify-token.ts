import type { Identity } from '../contracts/auth.ts'
import { effectiveLimits } from '../contracts/limits.ts'
import { may, rightsOf } from '../contracts/permissions.ts'
import { findKeyCredential } from '../storage/keys.ts'
import { limitRulesFor } from '../storage/limit-rules.ts'
import { findSessionCredential, type SessionCredential } from '../storage/sessions.ts'
import type { TenantQueries } from '../storage/tenancy.ts'
import { invalidToken, type TokenClaims } from './access-tokens.ts'
import { identityOfKey } from './verify-key.ts'

/**
 * Who presents a token with these claims, with the rights that they have now. What it was made from must still be good.
 * @throws HelixError `invalid_token`, and those of an API key
 */
export async function identityOfToken(
  queries: TenantQueries,
  { origin, expiresAtMs }: TokenClaims,
  nowMs: number,
): Promise<Identity> {
  if (origin.kind === 'key') {
    const credential = await findKeyCredential(queries, origin.keyId)
    if (!credential) throw invalidToken()
    const identity = identityOfKey(credential, nowMs)
    return { ...identity, expiresAtMs: Math.min(expiresAtMs, identity.expiresAtMs ?? expiresAtMs) }
  }
  const credential = await findSessionCredential(queries, origin.sessionId)
  const ended = !credential || credential.disabled || credential.session.revokedAtMs !== undefined
  if (ended || credential.grants.length === 0) throw invalidToken()
  const identity = identityOfSession(credential, Math.min(expiresAtMs, credential.session.expiresAtMs))
  return { ...identity, limits: effectiveLimits(await limitRulesFor(queries, identity), identity) }
}

function identityOfSession(
  { session, grants, projectIds }: SessionCredential,
  expiresAtMs: number,
): Omit<Identity, 'limits'> {
  const { id, organisationId, userId } = session
  const rights = rightsOf(grants)
  const usable = projectIds.find((one) => may(rights, 'inference', one))
  const projectId = usable ?? projectIds[0] ?? ''
  return {
    actor: `user:${userId}`,
    organisationId,
    // Where somebody's requests are accounted: their oldest project.
    projectId,
    keyId: undefined,
    userId,
    rights,
    models: undefined,
    ipRules: undefined,
    expiresAtMs,
    subjects: [id, userId, organisationId, ...(projectId === '' ? [] : [projectId])],
  }
}
