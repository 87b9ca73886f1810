import type { Readable } from 'node:stream'
import { type Dispatcher, request as undiciRequest } from 'undici'
import { HelixError } from '../core/errors.ts'

export interface HttpRequest {
  readonly url: string
  readonly method?: 'GET' | 'HEAD'
  readonly headers?: Readonly<Record<string, string>>
  readonly dispatcher: Dispatcher
  readonly signal?: AbortSignal | undefined
  /** Longest silence, before the answer and within it. */
  readonly stallTimeoutMs?: number
  /** `same-origin` gives back a redirect to another host as the answer. */
  readonly redirects?: 'follow' | 'same-origin'
}

export interface HttpResponse {
  /** Where the answer came from in the end, without credentials. */
  readonly url: string
  readonly status: number
  /** The first value of each header, by lower-case name. */
  readonly header: (name: string) => string | undefined
  /** To be read by `bodyChunks`, or dumped. */
  readonly body: Readable & { dump(): Promise<void> }
}

const REDIRECTS_MAX = 10

/**
 * One request, with its redirects. Credentials, in the headers or in the URL itself, go to the first origin
 * only. Any status is an answer.
 * @throws HelixError `model_source_unavailable` when there is no connection, `download_interrupted` when
 *   there was one and it broke or fell silent; the signal's reason when it aborts
 */
export async function sendRequest(request: HttpRequest): Promise<HttpResponse> {
  const start = withoutCredentials(request.url)
  let url = new URL(start.url)
  let headers: Readonly<Record<string, string>> = { ...request.headers, ...start.headers }
  for (let hop = 0; hop <= REDIRECTS_MAX; hop++) {
    const response = await sendOnce(url, headers, request)
    const target = redirectTarget(response, url)
    if (target === undefined) return response
    const leaves = target.origin !== url.origin
    if (leaves && request.redirects === 'same-origin') return response
    await response.body.dump()
    if (leaves) headers = publicHeaders(headers)
    url = target
  }
  throw unavailable(publicUrl(start.url), `it redirects more than ${REDIRECTS_MAX} times`)
}

/**
 * The body, with the errors of the connection told apart from those of whoever uses the bytes.
 * @throws HelixError `download_interrupted`
 */
export async function* bodyChunks({ body, url }: HttpResponse): AsyncGenerator<Buffer, void> {
  try {
    yield* body as AsyncIterable<Buffer>
  } catch (cause) {
    throw networkFailure(cause, url) ?? cause
  }
}

/** The URL without user and password, and these as a header. */
export function withoutCredentials(url: string): { url: string; headers: Readonly<Record<string, string>> } {
  const parsed = new URL(url)
  if (parsed.username === '' && parsed.password === '') return { url: parsed.href, headers: {} }
  const pair = `${decoded(parsed.username)}:${decoded(parsed.password)}`
  parsed.username = ''
  parsed.password = ''
  return { url: parsed.href, headers: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } }
}

/** A password may hold a bare per cent sign, which is then meant as it stands. */
function decoded(text: string): string {
  return /%(?![0-9a-f]{2})/i.test(text) ? text : decodeURIComponent(text)
}

/** Scheme, host and path: what may be shown and kept. Queries carry signatures and tokens. */
export function publicUrl(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

/** What a failed connection means, or undefined when the failure is of another kind. */
function networkFailure(cause: unknown, url: string): HelixError | undefined {
  const code = errorCode(cause)
  if (code === undefined) return undefined
  const { host } = new URL(url)
  const unreachable = UNREACHABLE[code] ?? (CERTIFICATE_CODES.test(code) ? CERTIFICATE_ADVICE : undefined)
  if (unreachable !== undefined) return unavailable(host, `${unreachable} (${code})`, cause)
  const broken = BROKEN[code]
  if (broken === undefined) return undefined
  return new HelixError('download_interrupted', `${host}: ${broken} (${code}).`, { cause })
}

async function sendOnce(
  url: URL,
  headers: Readonly<Record<string, string>>,
  { method = 'GET', dispatcher, signal, stallTimeoutMs = 30_000 }: HttpRequest,
): Promise<HttpResponse> {
  try {
    const answer = await undiciRequest(url, {
      method,
      // Compressed bytes could be neither resumed nor measured.
      headers: { 'user-agent': 'helixflow', 'accept-encoding': 'identity', ...headers },
      dispatcher,
      signal: signal ?? null,
      headersTimeout: stallTimeoutMs,
      bodyTimeout: stallTimeoutMs,
    })
    const header = (name: string) => {
      const value = answer.headers[name]
      return Array.isArray(value) ? value[0] : value
    }
    return { url: url.href, status: answer.statusCode, header, body: answer.body }
  } catch (cause) {
    signal?.throwIfAborted()
    const code = errorCode(cause)
    if (code === undefined) throw cause
    throw networkFailure(cause, url.href) ?? unavailable(url.host, `the request failed (${code})`, cause)
  }
}

function redirectTarget(response: HttpResponse, from: URL): URL | undefined {
  const location = response.header('location')
  if (location === undefined || ![301, 302, 303, 307, 308].includes(response.status)) return undefined
  const target = URL.parse(location, from.href)
  const downgrade = from.protocol === 'https:' && target?.protocol !== 'https:'
  if (target === null || downgrade || !['http:', 'https:'].includes(target.protocol)) {
    throw unavailable(publicUrl(from.href), 'it redirects to an address that is not safe to follow')
  }
  return target
}

const PRIVATE_HEADERS = new Set(['authorization', 'cookie', 'proxy-authorization'])

function publicHeaders(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !PRIVATE_HEADERS.has(name.toLowerCase())),
  )
}

function unavailable(place: string, reason: string, cause?: unknown): HelixError {
  return new HelixError('model_source_unavailable', `${place}: ${reason}.`, { cause })
}

const UNREACHABLE: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the name of the host cannot be looked up',
  EAI_AGAIN: 'the name of the host cannot be looked up now',
  UND_ERR_CONNECT_TIMEOUT: 'the host does not answer',
  ECONNREFUSED: 'the host refuses the connection',
  EHOSTUNREACH: 'there is no way to the host',
  ENETUNREACH: 'there is no way to the host',
  EADDRNOTAVAIL: 'there is no way to the host',
  // What undici's proxy agent makes of a refused CONNECT; an abort by the caller was sorted out before.
  UND_ERR_ABORTED: 'the proxy refuses to connect to the host',
  UND_ERR_PRX_TLS: 'the TLS certificate of the proxy is not trusted',
}

const CERTIFICATE_CODES = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|^ERR_TLS|^ERR_SSL|^EPROTO$/
const CERTIFICATE_ADVICE =
  'its TLS certificate is not trusted; where a proxy or a mirror has its own authority, ' +
  'name the file of that in NODE_EXTRA_CA_CERTS, and for a package index in PIP_CERT'

const BROKEN: Readonly<Record<string, string>> = {
  UND_ERR_SOCKET: 'the connection broke',
  ECONNRESET: 'the connection broke',
  EPIPE: 'the connection broke',
  ETIMEDOUT: 'the connection broke',
  UND_ERR_HEADERS_TIMEOUT: 'the host fell silent',
  UND_ERR_BODY_TIMEOUT: 'the host fell silent',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the connection broke',
}

/** The code of the failure, or of what a chain or a bundle of failures has inside. */
function errorCode(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined
  if ('code' in cause && typeof cause.code === 'string') return cause.code
  return cause instanceof AggregateError ? errorCode(cause.errors[0]) : errorCode(cause.cause)
}
