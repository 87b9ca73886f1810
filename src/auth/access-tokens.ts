import { randomUUID } from 'node:crypto'
import { errors, jwtVerify, SignJWT } from 'jose'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { SigningKeys } from './signing-keys.ts'

/** What an access token says. Rights are no part of it: they are looked up, so that taking one away has effect. */
export interface TokenClaims {
  readonly organisationId: string
  /** The login that it comes from, or the API key. */
  readonly origin:
    | { readonly kind: 'session'; readonly sessionId: string; readonly userId: string }
    | { readonly kind: 'key'; readonly keyId: string }
  readonly expiresAtMs: number
}

export interface AccessTokenOptions {
  readonly keys: SigningKeys
  readonly issuer: string
  readonly lifeMs: number
  readonly clock: Clock
}

const ALGORITHM = 'EdDSA'
const TYPE = 'at+jwt'
const AUDIENCE = 'helixflow'

/** A token of ours has about 500; nothing longer is looked into. */
const LENGTH_MAX = 4_096

/** Clocks of two machines may differ by this. */
const CLOCK_TOLERANCE_S = 5

/** Whether it could be an access token, and not an API key. */
export function looksLikeToken(credential: string): boolean {
  return credential.startsWith('eyJ')
}

/**
 * Signs and verifies access tokens (RFC 9068) with one algorithm and keys of our own alone: nothing in a token's header
 * chooses how it is verified, and nothing in it is fetched.
 */
export class AccessTokens {
  constructor(private readonly options: AccessTokenOptions) {}

  get lifeMs(): number {
    return this.options.lifeMs
  }

  async issue({ organisationId, origin }: Omit<TokenClaims, 'expiresAtMs'>): Promise<string> {
    const { keys, issuer, lifeMs, clock } = this.options
    const { id, privateKey } = await keys.current()
    const nowS = Math.floor(clock.now() / 1_000)
    const from =
      origin.kind === 'session'
        ? { sub: origin.userId, sid: origin.sessionId }
        : { sub: origin.keyId, key: origin.keyId }
    return new SignJWT({ ...from, org: organisationId })
      .setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid: id })
      .setIssuer(issuer)
      .setAudience(AUDIENCE)
      .setIssuedAt(nowS)
      .setNotBefore(nowS)
      .setExpirationTime(nowS + Math.floor(lifeMs / 1_000))
      .setJti(randomUUID())
      .sign(privateKey)
  }

  /** @throws HelixError `invalid_token`, `token_expired`, `storage_unavailable` */
  async verify(token: string): Promise<TokenClaims> {
    const { keys, issuer, clock } = this.options
    if (token.length > LENGTH_MAX || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) throw invalidToken()
    try {
      const { payload } = await jwtVerify(
        token,
        async ({ kid }) => {
          const key = typeof kid === 'string' ? await keys.find(kid) : undefined
          if (key) return key
          throw invalidToken()
        },
        {
          algorithms: [ALGORITHM],
          typ: TYPE,
          issuer,
          audience: AUDIENCE,
          currentDate: new Date(clock.now()),
          clockTolerance: CLOCK_TOLERANCE_S,
          requiredClaims: ['sub', 'exp', 'nbf', 'iat', 'jti', 'org'],
        },
      )
      return toClaims(payload)
    } catch (reason) {
      if (reason instanceof HelixError) throw reason
      if (reason instanceof errors.JWTExpired) {
        throw new HelixError(
          'token_expired',
          'The access token has expired. Get a new one with the refresh token.',
        )
      }
      if (reason instanceof errors.JOSEError) throw invalidToken(reason)
      throw HelixError.from(reason)
    }
  }
}

function toClaims(payload: Readonly<Record<string, unknown>>): TokenClaims {
  const { sub, sid, key, org, exp } = payload
  if (typeof sub !== 'string' || typeof org !== 'string' || typeof exp !== 'number') throw invalidToken()
  const base = { organisationId: org, expiresAtMs: exp * 1_000 }
  if (typeof sid === 'string' && key === undefined)
    return { ...base, origin: { kind: 'session', sessionId: sid, userId: sub } }
  if (key === sub && sid === undefined) return { ...base, origin: { kind: 'key', keyId: sub } }
  throw invalidToken()
}

export function invalidToken(cause?: unknown): HelixError {
  return new HelixError('invalid_token', 'The access token is not valid.', {
    cause,
    ...(cause instanceof Error ? { internal: `access token refused: ${cause.message}` } : {}),
  })
}
