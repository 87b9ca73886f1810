import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { text } from '../../contracts/administration/operation.ts'
import type { IssuedTokens, TokenIssuer, TokenRequest } from '../../contracts/auth.ts'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import { HelixError } from '../../core/errors.ts'
import type { CredentialAttempts, CredentialMethod } from '../metrics/credential-attempts.ts'

const secret = z.string().min(1).max(4_096)

const TokenBody = z.discriminatedUnion('grant_type', [
  z.strictObject({ grant_type: z.literal('api_key'), api_key: secret }),
  z.strictObject({
    grant_type: z.literal('password'),
    email: text(254),
    password: z.string().min(1).max(256),
    organisation_id: text(64).optional(),
  }),
  z.strictObject({ grant_type: z.literal('refresh_token'), refresh_token: secret.optional() }),
])

const CallbackQuery = z.object({
  state: z.string(),
  code: z.string().optional(),
  error: z.string().optional(),
})

/** The refresh token of a browser, which no script can read and no other site can send. */
const REFRESH_COOKIE = 'helixflow_refresh'
/** What a browser keeps while it is at the identity provider. */
const LOGIN_COOKIE = 'helixflow_login'
const COOKIE_PATH = '/auth/v1'
const LOGIN_SECONDS = 600

const open = { config: { access: 'public' } } as const

const METHODS: Readonly<Record<z.output<typeof TokenBody>['grant_type'], CredentialMethod>> = {
  api_key: 'api_key',
  password: 'login',
  refresh_token: 'refresh',
}

/** Tokens: OAuth-like grants, the public keys, and the login of browsers at an identity provider. */
export function registerTokens(app: FastifyInstance, auth: TokenIssuer, attempts: CredentialAttempts): void {
  app.post('/auth/v1/token', open, async (request, reply) => {
    const body = parseRequest(TokenBody, parseJson(request.body as Buffer))
    const tokens = await attempts.grant(METHODS[body.grant_type], auth.issueToken(grantOf(body, request)))
    if (body.grant_type === 'refresh_token' && body.refresh_token === undefined) {
      setRefreshCookie(request, reply, tokens.refreshToken)
      return answer(reply, { ...tokens, refreshToken: undefined })
    }
    return answer(reply, tokens)
  })
  app.get('/.well-known/jwks.json', open, async (_request, reply) => {
    reply.header('cache-control', 'public, max-age=300')
    return auth.keySet()
  })
  app.get<{ Querystring: { return_to?: unknown } }>('/auth/v1/oidc/login', open, async (request, reply) => {
    const returnTo = localPath(request.query.return_to)
    const { url, state } = await auth.startLogin({
      redirectUri: `${originOf(request)}/auth/v1/oidc/callback`,
      returnTo,
    })
    setCookie(request, reply, { name: LOGIN_COOKIE, value: state, seconds: LOGIN_SECONDS, sameSite: 'Lax' })
    return reply.redirect(url, 302)
  })
  app.get('/auth/v1/oidc/callback', open, async (request, reply) => {
    parseRequest(CallbackQuery, request.query)
    const state = cookieOf(request, LOGIN_COOKIE)
    if (state === undefined)
      throw new HelixError('invalid_grant', 'This login was not begun in this browser.')
    const finishing = auth.finishLogin({ callbackUrl: originOf(request) + request.url, state })
    const { returnTo, ...tokens } = await attempts.grant('oidc', finishing)
    setCookie(request, reply, { name: LOGIN_COOKIE, value: '', seconds: 0, sameSite: 'Lax' })
    setRefreshCookie(request, reply, tokens.refreshToken)
    if (returnTo !== '') return reply.redirect(returnTo, 302)
    return answer(reply, { ...tokens, refreshToken: undefined })
  })
}

function grantOf(body: z.output<typeof TokenBody>, request: FastifyRequest): TokenRequest {
  switch (body.grant_type) {
    case 'api_key':
      return { grantType: 'api_key', apiKey: body.api_key }
    case 'password': {
      const { email, password, organisation_id: organisationId } = body
      return { grantType: 'password', email, password, organisationId }
    }
    case 'refresh_token':
      return { grantType: 'refresh_token', refreshToken: body.refresh_token ?? refreshCookie(request) }
  }
}

/** A browser sends its cookie along with whatever any page makes it do: the page must be one of ours. */
function refreshCookie(request: FastifyRequest): string {
  const token = cookieOf(request, REFRESH_COOKIE)
  if (token !== undefined && request.headers.origin === originOf(request)) return token
  throw new HelixError('invalid_grant', 'The credentials are not valid.')
}

function answer(reply: FastifyReply, { accessToken, expiresInSeconds, refreshToken }: IssuedTokens) {
  reply.header('cache-control', 'no-store')
  return {
    access_token: accessToken,
    token_type: 'Bearer',
    expires_in: expiresInSeconds,
    ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
  }
}

function setRefreshCookie(request: FastifyRequest, reply: FastifyReply, token: string | undefined): void {
  if (token === undefined) return
  setCookie(request, reply, { name: REFRESH_COOKIE, value: token, seconds: 400 * 86_400, sameSite: 'Strict' })
}

interface Cookie {
  readonly name: string
  readonly value: string
  readonly seconds: number
  readonly sameSite: 'Lax' | 'Strict'
}

function setCookie(request: FastifyRequest, reply: FastifyReply, { name, value, seconds, sameSite }: Cookie) {
  const secure = request.protocol === 'https' ? '; Secure' : ''
  reply.header(
    'set-cookie',
    `${name}=${value}; Path=${COOKIE_PATH}; Max-Age=${seconds}; HttpOnly; SameSite=${sameSite}${secure}`,
  )
}

function cookieOf({ headers }: FastifyRequest, name: string): string | undefined {
  for (const part of (headers.cookie ?? '').split(';')) {
    const [key, value] = part.trim().split(/=(.*)/s)
    if (key === name && value) return value
  }
  return undefined
}

function originOf(request: FastifyRequest): string {
  return `${request.protocol}://${request.host}`
}

/** A path of this server and nothing else: `//elsewhere` and `/\\elsewhere` are other servers. Empty where none is. */
function localPath(given: unknown): string {
  if (given === undefined) return ''
  if (typeof given === 'string' && /^\/(?![/\\])[\x21-\x7e]*$/.test(given) && !given.includes('\\'))
    return given
  throw new HelixError('invalid_value', "'return_to' must be a path of this server.", { param: 'return_to' })
}
