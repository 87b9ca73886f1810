import Fastify, { type FastifyInstance } from 'fastify'
import type { LayeredCache } from '../cache/layered-cache.ts'
import type { AuthClient, TokenIssuer } from '../contracts/auth.ts'
import { CompletionRequest } from '../contracts/openai/completions.ts'
import { EmbeddingRequest } from '../contracts/openai/embeddings.ts'
import { TokenizeRequest } from '../contracts/openai/tokenize.ts'
import type { PoolClient } from '../contracts/pool.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import type { Tracer } from '../core/tracing.ts'
import type { StreamStore } from '../streams/stream.ts'
import type { CredentialCache } from './credential-cache.ts'
import { completionExchange } from './dispatch/completion-exchange.ts'
import { embeddingExchange } from './dispatch/embedding-exchange.ts'
import { tokenizeExchange } from './dispatch/tokenize-exchange.ts'
import { type Drain, drainingError } from './drain.ts'
import type { Generation } from './generation.ts'
import { requireAccess } from './hooks/access.ts'
import { authenticate, identified } from './hooks/authenticate.ts'
import { errorReply } from './hooks/error-reply.ts'
import { accessLog } from './hooks/observe.ts'
import { makeRequestId } from './hooks/request-id.ts'
import { traceRequests } from './hooks/trace.ts'
import { refuseUnreadable } from './hooks/unreadable.ts'
import type { LimitGate } from './limits/limit-gate.ts'
import type { CredentialAttempts } from './metrics/credential-attempts.ts'
import type { RequestMetrics } from './metrics/request-metrics.ts'
import type { Realtime } from './realtime/realtime.ts'
import { upgradeCredential } from './realtime/upgrade-credential.ts'
import { acceptUpgrades } from './realtime/upgrades.ts'
import { registerAdministration } from './routes/administration.ts'
import { invalidateCache } from './routes/cache.ts'
import { chatCompletions } from './routes/chat.ts'
import { openApiDocument, readableDocument } from './routes/documents.ts'
import { generate } from './routes/generate.ts'
import { livez, type ReadinessChecks, readyz } from './routes/health.ts'
import { ownLimits } from './routes/limits.ts'
import { listModels, showModel } from './routes/models.ts'
import { healthz, type MonitorRouteParts, registerMonitor } from './routes/monitor.ts'
import { type ResponseRouteParts, registerResponses } from './routes/responses.ts'
import { explainModel, listDevices } from './routes/scheduler.ts'
import { cancelStream, readStream } from './routes/streams.ts'
import { registerTokens } from './routes/tokens.ts'
import { refuseUnknown } from './routes/unknown.ts'
import type { StreamReaders } from './streaming/stream-readers.ts'
import type { StreamRuns } from './streaming/stream-runs.ts'

export interface AppParts extends MonitorRouteParts {
  readonly credentials: CredentialCache
  readonly auth: AuthClient & TokenIssuer
  readonly generation: Generation
  readonly runs: StreamRuns
  readonly readers: StreamReaders
  readonly streams: StreamStore
  readonly responses: ResponseRouteParts
  readonly realtime: Realtime
  readonly cache: LayeredCache
  readonly limits: LimitGate
  readonly pool: PoolClient
  readonly drain: Drain
  readonly readiness: ReadinessChecks
  readonly log: Logger
  readonly accessLog: Logger
  readonly requests: RequestMetrics
  readonly attempts: CredentialAttempts
  readonly random: Random
  readonly tracer: Tracer
  /** Names this gateway in `x-helixflow-instance`. */
  readonly instance: string
  readonly version: string
  readonly bodyLimitBytes: number
  /** Whose word about a client's address is believed. */
  readonly trustedProxies: readonly string[]
}

const BODY_TIMEOUT_MS = 15_000

const open = { config: { access: 'public' } } as const
const managesModels = { config: { access: 'models.manage' } } as const
const seesModels = { config: { access: 'authenticated' } } as const

/** The whole way of a request on one screen: observe, drain, authenticate, route. */
export function buildApp(parts: AppParts): FastifyInstance {
  const { credentials, auth, pool, drain, readiness, log, random } = parts
  const app = Fastify({
    bodyLimit: parts.bodyLimitBytes,
    // Against clients that drip their headers or their body.
    requestTimeout: BODY_TIMEOUT_MS,
    genReqId: makeRequestId,
    forceCloseConnections: true,
    trustProxy: parts.trustedProxies.length > 0 ? [...parts.trustedProxies] : false,
    routerOptions: { maxParamLength: 512 },
    http: {
      headersTimeout: 5_000,
      requestTimeout: BODY_TIMEOUT_MS,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 16_384,
    },
    clientErrorHandler: refuseUnreadable,
  })
  readBodiesAsBytes(app)
  requireAccess(app)
  for (const field of ['identity', 'credential', 'model', 'settlement', 'work', 'failure', 'user', 'span'])
    app.decorateRequest(field, undefined)
  app.decorateRequest('startedMs', 0)
  app.setErrorHandler(errorReply(log, random))
  app.setNotFoundHandler(refuseUnknown(app))

  app.addHook('onRequest', (request, reply, done) => {
    reply.headers({ 'x-request-id': request.id, 'x-helixflow-instance': parts.instance })
    // We are no proxy: an address with a host in it is somebody else's.
    done(request.raw.url?.startsWith('/') ? undefined : new HelixError('unknown_url', 'Send the path alone.'))
  })
  app.addHook('onRequest', traceRequests(parts.tracer))
  app.addHook('onRequest', accessLog(parts.accessLog, parts.requests))
  acceptUpgrades(app)

  app.get('/livez', open, livez())
  app.get('/readyz', open, readyz(readiness))
  app.get('/healthz', open, healthz(parts))
  app.get('/openapi.json', open, openApiDocument(parts.version))
  app.get('/docs', open, readableDocument(parts.version))
  registerTokens(app, auth, parts.attempts)

  app.register(async (v1) => {
    v1.addHook('onRequest', (_request, reply, done) => {
      if (drain.draining) return done(drainingError())
      drain.enter(reply.raw)
      done()
    })
    v1.addHook('onRequest', upgradeCredential(parts.realtime.tickets))
    v1.addHook('onRequest', authenticate(credentials, parts.attempts))
    v1.get('/v1/models', seesModels, listModels(pool))
    v1.get('/v1/models/*', seesModels, showModel(pool))
    v1.get('/v1/limits', seesModels, ownLimits(parts.limits, identified))
    const generates = { config: { access: 'inference' } } as const
    const { generation, readers } = parts
    v1.post('/v1/chat/completions', generates, chatCompletions(generation, parts.runs, readers))
    v1.post('/v1/completions', generates, generate(generation, CompletionRequest, completionExchange))
    v1.post('/v1/embeddings', generates, generate(generation, EmbeddingRequest, embeddingExchange))
    v1.post('/tokenize', generates, generate(generation, TokenizeRequest, tokenizeExchange))
    registerResponses(v1, parts.responses)
    // Who asks for the head alone would read the stream to its end.
    v1.get('/v1/streams/:id', { ...generates, exposeHeadRoute: false }, readStream(parts.streams, readers))
    v1.delete('/v1/streams/:id', generates, cancelStream(parts.streams))
    v1.post('/v1/cache/invalidate', managesModels, invalidateCache(parts.cache))
    registerAdministration(v1, auth, identified)
    v1.get('/admin/v1/scheduler/explain', managesModels, explainModel(pool))
    v1.get('/admin/v1/devices', managesModels, listDevices(pool))
    registerMonitor(v1, parts, (request) => identified(request).actor)
    parts.realtime.register(v1)
  })
  return app
}

/** Bodies are parsed by the routes, against their schemas; the framework only bounds and collects them. */
function readBodiesAsBytes(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(/^application\/json\s*(;|$)/i, { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  )
}
