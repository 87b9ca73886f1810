import type { HelixError } from '../core/errors.ts'
import type { Span } from '../core/tracing.ts'
import type { EffectiveLimit } from './limits.ts'
import type { Rights } from './permissions.ts'

/**
 * What the auth service offers. In `helixflow up` the generated RPC client speaks to it in memory; apart, over
 * mutually authenticated HTTP/2.
 */
export interface AuthClient {
  /**
   * Who presents an API key or an access token.
   * @throws HelixError `invalid_api_key`, `api_key_revoked`, `api_key_expired`, `invalid_token`, `token_expired`,
   *   `storage_unavailable`
   * @param span of which the question is a part
   */
  verify(credential: string, span?: Span): Promise<Identity>

  /**
   * An operation of the administration table, by name, for that caller. Input and output are plain JSON values of
   * the operation's schemas.
   * @throws HelixError the operation's, and `insufficient_permissions`, `not_found`, `invalid_value`
   */
  administer(call: AdministrationCall): Promise<unknown>

  /** Why nobody can be verified at the moment; undefined when they can. For `/readyz`. */
  problem(): Promise<HelixError | undefined>

  /**
   * Calls back with the id of each key, session, user, service account, project or organisation whose credentials
   * stop being valid, on whichever process that was decided. `undefined` means that messages may have been missed and
   * every cached answer must go. Returns what ends the watch.
   */
  watchRevocations(listener: (subject: string | undefined) => void): () => void
}

/** The part of the auth service that makes credentials of other credentials. */
export interface TokenIssuer {
  /** @throws HelixError `invalid_grant`, `invalid_value`, `storage_unavailable` */
  issueToken(request: TokenRequest): Promise<IssuedTokens>

  /** The public keys that access tokens verify with, as RFC 7517 has them. */
  keySet(): Promise<{ readonly keys: readonly object[] }>

  /** Where to send a browser that wants to log in. @throws HelixError `not_implemented` when no provider is set */
  startLogin(request: LoginRequest): Promise<StartedLogin>
  /** What the provider sent back with the browser. @throws HelixError `invalid_grant`, `upstream_unavailable` */
  finishLogin(request: FinishLoginRequest): Promise<IssuedTokens & { readonly returnTo: string }>
}

/** Who is calling. Built by the auth service alone: there is no default identity. */
export interface Identity {
  /** `key:<id>`, `user:<id>`, `service_account:<id>`, or `operator` at the control socket. Named in the audit log. */
  readonly actor: string
  readonly organisationId: string
  /** Where requests are accounted. */
  readonly projectId: string
  /** The key that was presented, or that the token was made from; undefined for a login. */
  readonly keyId: string | undefined
  /** The person behind it, where there is one. */
  readonly userId: string | undefined
  readonly rights: Rights
  /** Models it may use; undefined: all. */
  readonly models: readonly string[] | undefined
  /** Addresses it may come from, as CIDR; undefined: any. */
  readonly ipRules: readonly string[] | undefined
  /** The rules that bind it; see `effectiveLimits`. */
  readonly limits: readonly EffectiveLimit[]
  /** A cached identity is not used beyond this moment. */
  readonly expiresAtMs: number | undefined
  /** It ends with any of these. */
  readonly subjects: readonly string[]
}

/** Who administers: somebody with a credential, or whoever can open the control socket. */
export type Caller = Identity | Operator

/** The user who runs the server. May do everything, in the organisation that they name. */
export interface Operator {
  readonly actor: 'operator'
  readonly organisationId: string
}

export interface AdministrationCall {
  readonly caller: Caller
  /** A name in the table of operations. */
  readonly operation: string
  readonly input: unknown
  readonly requestId?: string | undefined
  /** Where the request came from, for the audit log. */
  readonly source?: string | undefined
  /** The same key with the same input has its effect once, and the first answer again for a day. */
  readonly idempotencyKey?: string | undefined
}

export type TokenRequest =
  | { readonly grantType: 'api_key'; readonly apiKey: string }
  | {
      readonly grantType: 'password'
      readonly email: string
      readonly password: string
      /** Needed only by somebody who belongs to several. */
      readonly organisationId?: string | undefined
    }
  | { readonly grantType: 'refresh_token'; readonly refreshToken: string }

export interface IssuedTokens {
  /** A JWT, signed with EdDSA. */
  readonly accessToken: string
  readonly expiresInSeconds: number
  /** Undefined for a token from an API key, which can be presented again. */
  readonly refreshToken: string | undefined
}

export interface LoginRequest {
  /** The address that the provider sends the browser back to. */
  readonly redirectUri: string
  /** A path of this server to go to afterwards. */
  readonly returnTo: string
}

export interface StartedLogin {
  readonly url: string
  /** Sealed; the browser keeps it as a cookie and brings it back. */
  readonly state: string
}

export interface FinishLoginRequest {
  /** The whole address that the browser came back to, with its query. */
  readonly callbackUrl: string
  readonly state: string
}

/** What belongs to nobody in particular belongs here, and to its project. */
export const DEFAULT_ORGANISATION = 'org_default'
export const DEFAULT_PROJECT = 'proj_default'

/** At the control socket: which organisation is meant, where it is not the default one. */
export const ORGANISATION_HEADER = 'x-helixflow-organisation'
