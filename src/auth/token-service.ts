import type {
  FinishLoginRequest,
  Identity,
  IssuedTokens,
  LoginRequest,
  StartedLogin,
  TokenIssuer,
  TokenRequest,
} from '../contracts/auth.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { findGrants } from '../storage/memberships.ts'
import { announceEnd } from '../storage/revocations.ts'
import { insertSession, lockSession, replaceRefreshHash, revokeSession } from '../storage/sessions.ts'
import { acrossOrganisations, type TenantQueries } from '../storage/tenancy.ts'
import { findUserByEmail, organisationsOf, replacePasswordHash, type StoredUser } from '../storage/users.ts'
import type { AccessTokens } from './access-tokens.ts'
import { apiKeyHmac, hmacMatches } from './api-keys.ts'
import { hashPassword, isOutdated, LoginThrottle, passwordMatches } from './passwords.ts'
import { newRefreshToken, refreshTokenId } from './refresh-tokens.ts'
import type { SigningKeys } from './signing-keys.ts'

export interface TokenServiceParts {
  readonly database: Database
  readonly pepper: Buffer
  readonly clock: Clock
  readonly signingKeys: SigningKeys
  readonly accessTokens: AccessTokens
  readonly verifyKey: (presented: string) => Promise<Identity>
  /** How long a login can be renewed. */
  readonly sessionLifeMs: number
  /** Undefined where no identity provider is configured. */
  readonly login: BrowserLogin | undefined
}

/** A login by a browser at an identity provider. */
export interface BrowserLogin {
  start(request: LoginRequest): Promise<StartedLogin>
  /** Who it was. @throws HelixError `invalid_grant`, `upstream_unavailable` */
  finish(request: FinishLoginRequest): Promise<{
    readonly userId: string
    readonly organisationId: string
    readonly returnTo: string
  }>
}

/** Makes access tokens of API keys, passwords, refresh tokens and logins elsewhere. */
export class TokenService implements TokenIssuer {
  private readonly throttle: LoginThrottle

  constructor(private readonly parts: TokenServiceParts) {
    this.throttle = new LoginThrottle(parts.clock)
  }

  issueToken(request: TokenRequest): Promise<IssuedTokens> {
    switch (request.grantType) {
      case 'api_key':
        return this.fromKey(request.apiKey)
      case 'password':
        return this.fromPassword(request)
      case 'refresh_token':
        return this.fromRefreshToken(request.refreshToken)
    }
  }

  keySet(): Promise<{ readonly keys: readonly object[] }> {
    return this.parts.signingKeys.keySet()
  }

  async startLogin(request: LoginRequest): Promise<StartedLogin> {
    return this.browserLogin().start(request)
  }

  async finishLogin(request: FinishLoginRequest): Promise<IssuedTokens & { readonly returnTo: string }> {
    const { returnTo, ...who } = await this.browserLogin().finish(request)
    return { ...(await this.open(who)), returnTo }
  }

  private browserLogin(): BrowserLogin {
    if (this.parts.login) return this.parts.login
    throw new HelixError('not_implemented', 'No identity provider is set up: see auth.oidc in the settings.')
  }

  private async fromKey(apiKey: string): Promise<IssuedTokens> {
    const { organisationId, keyId } = await this.parts.verifyKey(apiKey)
    if (keyId === undefined) throw invalidGrant()
    const accessToken = await this.parts.accessTokens.issue({
      organisationId,
      origin: { kind: 'key', keyId },
    })
    return this.issued(accessToken, undefined)
  }

  private async fromPassword(
    request: Extract<TokenRequest, { grantType: 'password' }>,
  ): Promise<IssuedTokens> {
    const { database } = this.parts
    let user: StoredUser | undefined
    const succeeded = await this.throttle.attempt(request.email, async () => {
      user = await acrossOrganisations(database, (queries) => findUserByEmail(queries, request.email))
      const matches = await passwordMatches(request.password, user?.passwordHash)
      return matches && user?.disabledAtMs === undefined
    })
    if (!succeeded || !user) throw invalidGrant()
    const { id, passwordHash } = user
    if (passwordHash !== undefined && isOutdated(passwordHash))
      await this.rehash(id, passwordHash, request.password)
    const organisations = await acrossOrganisations(database, (queries) => organisationsOf(queries, id))
    return this.open({ userId: id, organisationId: chosen(organisations, request.organisationId) })
  }

  private async rehash(id: string, replaced: string, password: string): Promise<void> {
    const passwordHash = await hashPassword(password)
    await acrossOrganisations(this.parts.database, (queries) =>
      replacePasswordHash(queries, { id, passwordHash, replaced }),
    )
  }

  /** Each refresh token is good once. One that comes again was stolen, or what it was renewed to was: all end. */
  private async fromRefreshToken(presented: string): Promise<IssuedTokens> {
    const { database, pepper, clock, accessTokens } = this.parts
    const sessionId = refreshTokenId(presented, pepper)
    if (sessionId === undefined) throw invalidGrant()
    const renewed = await acrossOrganisations(database, async (queries) => {
      const session = await lockSession(queries, sessionId)
      const nowMs = clock.now()
      if (!session || session.revokedAtMs !== undefined || session.expiresAtMs <= nowMs) return undefined
      if (!hmacMatches(apiKeyHmac(presented, pepper), session.refreshHash)) {
        await this.end(queries, sessionId)
        return undefined
      }
      // Who has lost every role has lost the session too.
      if ((await findGrants(queries, session)).length === 0) return undefined
      const { plaintext } = newRefreshToken(pepper, sessionId)
      await replaceRefreshHash(queries, { id: sessionId, refreshHash: apiKeyHmac(plaintext, pepper) })
      return { session, plaintext }
    })
    if (!renewed) throw invalidGrant()
    const { organisationId, userId } = renewed.session
    const accessToken = await accessTokens.issue({
      organisationId,
      origin: { kind: 'session', sessionId, userId },
    })
    return this.issued(accessToken, renewed.plaintext)
  }

  private async end(queries: TenantQueries, id: string): Promise<void> {
    await revokeSession(queries, { id, nowMs: this.parts.clock.now() })
    await announceEnd(queries, id)
  }

  private async open({
    userId,
    organisationId,
  }: {
    userId: string
    organisationId: string
  }): Promise<IssuedTokens> {
    const { database, pepper, clock, sessionLifeMs, accessTokens } = this.parts
    const { id, plaintext } = newRefreshToken(pepper)
    const nowMs = clock.now()
    const session = {
      id,
      organisationId,
      userId,
      refreshHash: apiKeyHmac(plaintext, pepper),
      createdAtMs: nowMs,
      expiresAtMs: nowMs + sessionLifeMs,
      revokedAtMs: undefined,
    }
    await acrossOrganisations(database, (queries) => insertSession(queries, session))
    const origin = { kind: 'session', sessionId: id, userId } as const
    return this.issued(await accessTokens.issue({ organisationId, origin }), plaintext)
  }

  private issued(accessToken: string, refreshToken: string | undefined): IssuedTokens {
    return { accessToken, refreshToken, expiresInSeconds: Math.floor(this.parts.accessTokens.lifeMs / 1_000) }
  }
}

function chosen(organisations: readonly { id: string; name: string }[], asked: string | undefined): string {
  const [first, ...others] = organisations
  if (!first) throw invalidGrant()
  if (asked !== undefined) {
    if (organisations.some(({ id }) => id === asked)) return asked
    throw invalidGrant()
  }
  if (others.length === 0) return first.id
  const choice = organisations.map(({ id, name }) => `${id} (${name})`).join(', ')
  throw new HelixError('invalid_value', `'organisation_id': say which of your organisations: ${choice}.`, {
    param: 'organisation_id',
  })
}

/** One text for all that can be wrong, so that it tells nothing. */
function invalidGrant(): HelixError {
  return new HelixError('invalid_grant', 'The credentials are not valid.')
}
