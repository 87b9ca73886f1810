import {
  AuthorizationResponseError,
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type ClientAuth,
  ClientError,
  ClientSecretBasic,
  ClientSecretPost,
  type Configuration,
  calculatePKCECodeChallenge,
  clockTolerance,
  discovery,
  enableNonRepudiationChecks,
  fetchUserInfo,
  ResponseBodyError,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
} from 'openid-client'
import { z } from 'zod'
import type { OidcConfig } from '../config/schema.ts'
import type { FinishLoginRequest, LoginRequest, StartedLogin } from '../contracts/auth.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Database } from '../storage/database.ts'
import { admit, type ProviderUser } from './provider-user.ts'
import { open, seal } from './sealed.ts'
import type { BrowserLogin } from './token-service.ts'

export interface OidcLoginParts {
  readonly database: Database
  /** Seals what the browser keeps meanwhile. */
  readonly pepper: Buffer
  readonly config: OidcConfig
  readonly clock: Clock
  readonly log: Logger
}

const LOGIN_LIFE_MS = 600_000
const METADATA_LIFE_MS = 3_600_000
const PROVIDER_TIMEOUT_SECONDS = 10
/** Between the provider's clock and ours. */
const CLOCK_TOLERANCE_SECONDS = 30
/** Browsers drop a cookie above 4096 bytes, its name and attributes included, and say nothing. */
const SEALED_MAX_LENGTH = 3_800
const PURPOSE = 'oidc login'

/** What must be known again when the browser comes back. */
const Pending = z.strictObject({
  codeVerifier: z.string(),
  state: z.string(),
  nonce: z.string(),
  redirectUri: z.url(),
  returnTo: z.string(),
  expiresAtMs: z.number(),
})
type Pending = z.output<typeof Pending>

/**
 * Login at an OpenID Connect provider: authorization code with PKCE, state and nonce. Nothing of a login in progress is
 * kept here, so that it may begin at one machine and end at another.
 */
export class OidcLogin implements BrowserLogin {
  private known: { readonly configuration: Promise<Configuration>; readonly untilMs: number } | undefined

  constructor(private readonly parts: OidcLoginParts) {}

  /** @throws HelixError `upstream_unavailable`, `invalid_value` */
  async start({ redirectUri, returnTo }: LoginRequest): Promise<StartedLogin> {
    const { config, clock } = this.parts
    const configuration = await this.configuration()
    const pending = {
      codeVerifier: randomPKCECodeVerifier(),
      state: randomState(),
      nonce: randomNonce(),
      redirectUri,
      returnTo,
      expiresAtMs: clock.now() + LOGIN_LIFE_MS,
    }
    const state = this.sealed(pending)
    const challenge = await calculatePKCECodeChallenge(pending.codeVerifier)
    const url = await this.atProvider(() =>
      buildAuthorizationUrl(configuration, {
        redirect_uri: redirectUri,
        scope: config.scopes.join(' '),
        code_challenge: challenge,
        code_challenge_method: 'S256',
        state: pending.state,
        nonce: pending.nonce,
      }),
    )
    return { url: url.href, state }
  }

  /** @throws HelixError `invalid_grant`, `upstream_unavailable`, `invalid_configuration`, `storage_unavailable` */
  async finish({ callbackUrl, state }: FinishLoginRequest) {
    const { database, config, clock, log } = this.parts
    const pending = this.opened(state)
    // The address that was announced, whatever name the browser has come back by.
    const answer = new URL(pending.redirectUri)
    answer.search = new URL(callbackUrl).search
    checkState(answer, pending.state)
    const configuration = await this.configuration()
    checkIssuer(answer, configuration)
    const person = await this.atProvider(() => this.identify(configuration, answer, pending))
    const userId = await admit({ database, config, log, nowMs: clock.now() }, person)
    return { userId, organisationId: config.organisation, returnTo: pending.returnTo }
  }

  /** Asked for at the first login, not at the start: we start without the provider. */
  private async configuration(): Promise<Configuration> {
    const nowMs = this.parts.clock.monotonic()
    if (this.known && nowMs < this.known.untilMs) return this.known.configuration
    const asked = {
      configuration: this.atProvider(() => discover(this.parts.config)),
      untilMs: nowMs + METADATA_LIFE_MS,
    }
    this.known = asked
    try {
      return await asked.configuration
    } catch (reason) {
      if (this.known === asked) this.known = undefined
      throw reason
    }
  }

  private async identify(
    configuration: Configuration,
    answer: URL,
    { codeVerifier, state, nonce }: Pending,
  ): Promise<ProviderUser> {
    const { groupsClaim } = this.parts.config
    const tokens = await authorizationCodeGrant(configuration, answer, {
      pkceCodeVerifier: codeVerifier,
      expectedState: state,
      expectedNonce: nonce,
      idTokenExpected: true,
    })
    const claims = tokens.claims()
    if (!claims) throw new ClientError('there is no id token')
    // Many providers keep the token small and tell the rest at another address.
    const complete = ['email', 'email_verified', groupsClaim].every((name) => Object.hasOwn(claims, name))
    const more =
      complete || configuration.serverMetadata().userinfo_endpoint === undefined
        ? {}
        : await fetchUserInfo(configuration, tokens.access_token, claims.sub)
    return toPerson({ ...more, ...claims }, groupsClaim)
  }

  /** What goes wrong there, in our words. The library's errors hold tokens and claims: only their texts are logged. */
  private async atProvider<Result>(work: () => Result | Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (reason) {
      const error = toLoginError(reason)
      this.parts.log.warn('identity provider refused or failed', { code: error.code, cause: error.message })
      throw error
    }
  }

  private sealed(pending: Pending): string {
    const { pepper } = this.parts
    const text = seal(pepper, PURPOSE, Buffer.from(JSON.stringify(pending))).toString('base64url')
    if (text.length <= SEALED_MAX_LENGTH) return text
    throw new HelixError('invalid_value', "'return_to' is too long.", { param: 'return_to' })
  }

  private opened(sealed: string): Pending {
    let pending: Pending
    try {
      const text = open(this.parts.pepper, PURPOSE, Buffer.from(sealed, 'base64url')).toString('utf8')
      pending = Pending.parse(JSON.parse(text))
    } catch {
      throw new HelixError('invalid_grant', 'This login was not begun here. Begin again.')
    }
    if (this.parts.clock.now() < pending.expiresAtMs) return pending
    throw new HelixError('invalid_grant', 'The login took longer than ten minutes. Begin again.')
  }
}

function discover({ issuer, clientId, clientSecret }: OidcConfig): Promise<Configuration> {
  const server = new URL(issuer)
  return discovery(
    server,
    clientId,
    { [clockTolerance]: CLOCK_TOLERANCE_SECONDS },
    clientAuthentication(clientSecret),
    // The settings allow http:// for this very machine alone.
    {
      timeout: PROVIDER_TIMEOUT_SECONDS,
      // The signature of the id token is checked too, although it comes over a connection of our own.
      execute:
        server.protocol === 'http:'
          ? [allowInsecureRequests, enableNonRepudiationChecks]
          : [enableNonRepudiationChecks],
    },
  )
}

/** In the header, which is what every client is registered for unless it says otherwise; in the body where only that is taken. */
function clientAuthentication(secret: string): ClientAuth {
  const inHeader = ClientSecretBasic(secret)
  const inBody = ClientSecretPost(secret)
  return (server, client, body, headers) => {
    const taken = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    const chosen = taken.includes('client_secret_basic') ? inHeader : inBody
    return chosen(server, client, body, headers)
  }
}

function checkState(answer: URL, expected: string): void {
  const given = answer.searchParams.getAll('state')
  if (given.length === 1 && given[0] === expected) return
  throw new HelixError('invalid_grant', 'This answer belongs to another login. Begin again.')
}

/** An answer of another provider, brought here by somebody who runs that one. */
function checkIssuer(answer: URL, configuration: Configuration): void {
  const { issuer } = configuration.serverMetadata()
  if (answer.searchParams.getAll('iss').every((given) => given === issuer)) return
  throw new HelixError('invalid_grant', 'This answer comes from another identity provider. Begin again.')
}

/** What a person's own claims may be; whatever is not so is taken as not told. */
const Claims = z.object({
  iss: z.string(),
  sub: z.string(),
  email: z.email().max(254).optional().catch(undefined),
  email_verified: z.boolean().catch(false),
  name: z.string().trim().min(1).max(100).refine(isPrintable).optional().catch(undefined),
})
const Groups = z.union([z.array(z.string()), z.string().transform((one) => [one])]).catch([])

function isPrintable(text: string): boolean {
  return !/\p{Cc}/u.test(text) && text.isWellFormed()
}

function toPerson(claims: Readonly<Record<string, unknown>>, groupsClaim: string): ProviderUser {
  const { iss, sub, email, email_verified, name } = Claims.parse(claims)
  const groups = Groups.parse(claims[groupsClaim])
  return { issuer: iss, subject: sub, email, emailVerified: email_verified, name, groups }
}

/** Errors of RFC 6749 that say that the provider is at fault, or that we are; the others are about the person. */
const NOT_THE_PERSON = ['server_error', 'temporarily_unavailable', 'invalid_client', 'unauthorized_client']

function toLoginError(reason: unknown): HelixError {
  if (reason instanceof HelixError) return reason
  const internal = `identity provider: ${textOf(reason)}`
  if (reason instanceof AuthorizationResponseError && !NOT_THE_PERSON.includes(reason.error)) {
    const said = /^[a-z_]{1,64}$/.test(reason.error) ? `: ${reason.error}` : ''
    return new HelixError('invalid_grant', `Your identity provider refused the login${said}.`, { internal })
  }
  const isSpent = reason instanceof ResponseBodyError && reason.error === 'invalid_grant'
  // An id token that is well signed and was made for another login.
  const isAnothers = reason instanceof ClientError && reason.code === 'OAUTH_JWT_CLAIM_COMPARISON_FAILED'
  if (isSpent || isAnothers) {
    return new HelixError(
      'invalid_grant',
      'Your identity provider does not know this login any more. Begin again.',
      { internal },
    )
  }
  return new HelixError(
    'upstream_unavailable',
    'The identity provider cannot be reached, or does not answer as it should. Try again shortly.',
    { internal },
  )
}

function textOf(reason: unknown): string {
  if (reason instanceof ResponseBodyError || reason instanceof AuthorizationResponseError) {
    return JSON.stringify(reason.error.slice(0, 64))
  }
  if (!(reason instanceof Error)) return 'unknown failure'
  const cause = reason.cause instanceof Error ? `: ${reason.cause.message}` : ''
  return reason.message + cause
}
