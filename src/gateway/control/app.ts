import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { LayeredCache } from '../../cache/layered-cache.ts'
import {
  type AuthClient,
  DEFAULT_ORGANISATION,
  type Operator,
  ORGANISATION_HEADER,
} from '../../contracts/auth.ts'
import { type DatabaseAdministration, STATEMENT_ORDERS, STATEMENTS_MAX } from '../../contracts/database.ts'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import type { PoolClient } from '../../contracts/pool.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import { errorReply } from '../hooks/error-reply.ts'
import { makeRequestId } from '../hooks/request-id.ts'
import type { LimitGate } from '../limits/limit-gate.ts'
import type { Realtime } from '../realtime/realtime.ts'
import { registerAdministration } from '../routes/administration.ts'
import { invalidate } from '../routes/cache.ts'
import { explainLimits } from '../routes/limits.ts'
import { type MonitorRouteParts, registerMonitor, registerMonitorOfOperator } from '../routes/monitor.ts'
import { defragment, explainModel, listDevices } from '../routes/scheduler.ts'
import { refuseUnknown } from '../routes/unknown.ts'

export interface ControlParts extends MonitorRouteParts {
  readonly auth: AuthClient
  readonly pool: PoolClient
  readonly limits: LimitGate
  readonly realtime: Realtime
  /** Undefined where the database is behind an auth service elsewhere. */
  readonly database: DatabaseAdministration | undefined
  /** What `helixflow doctor` and `models list` show of the running server. */
  readonly status: () => Promise<object>
  readonly backups: BackupControl | undefined
  readonly cache: LayeredCache
  /** Where the semantic cache has its vectors, in words. */
  readonly vectorsKept: string
  readonly log: Logger
  readonly random: Random
}

/** Backups of the database. What they tell goes to the command line as it is. */
export interface BackupControl {
  status(): Promise<object>
  /** @param secrets undefined: as the settings say */
  create(secrets: boolean | undefined, asker: AbortSignal): Promise<object>
  /** To be told that a backup was tried out and is of no use. */
  foundBad(id: string): void
}

const DoctorQuery = z.strictObject({ memoryBytes: z.coerce.number().int().positive().optional() })
const StatementsQuery = z.strictObject({
  sort: z.enum(STATEMENT_ORDERS).default('total'),
  limit: z.coerce.number().int().min(1).max(STATEMENTS_MAX).default(20),
})

const Broadcast = z.strictObject({
  message: z.string().min(1).max(4_096),
  level: z.enum(['info', 'warning']).default('info'),
})

const CreateBackup = z.strictObject({ secrets: z.boolean().optional() })

/**
 * Administration for the command line, on a Unix socket that only the user who runs the server can open: the file's
 * permission is the authentication.
 */
export function buildControlApp({
  auth,
  pool,
  limits,
  realtime,
  database,
  status,
  backups,
  cache,
  vectorsKept,
  log,
  random,
  ...monitoring
}: ControlParts): FastifyInstance {
  const app = Fastify({ genReqId: makeRequestId, forceCloseConnections: true, bodyLimit: 65_536 })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  )
  for (const field of ['identity', 'model', 'settlement', 'work', 'failure', 'user'])
    app.decorateRequest(field, undefined)
  app.decorateRequest('startedMs', 0)
  app.setErrorHandler(errorReply(log, random))
  app.setNotFoundHandler(refuseUnknown(app))

  app.get('/admin/v1/status', status)
  app.get('/admin/v1/limits/explain', explainLimits(auth, limits, operatorOf))
  registerAdministration(app, auth, operatorOf)
  app.get('/admin/v1/backups', () => present(backups).status())
  app.post('/admin/v1/backups', async (request, reply) => {
    const { secrets } = parseRequest(CreateBackup, parseJson(request.body as Buffer))
    return present(backups).create(secrets, untilClosed(reply.raw))
  })
  app.post<BackupRoute>('/admin/v1/backups/:id/found-bad', async ({ params }) => {
    present(backups).foundBad(params.id)
    return {}
  })
  app.get('/admin/v1/models', async () => ({ models: await pool.listModels() }))
  app.get<ModelRoute>('/admin/v1/models/:name', async (request) => pool.showModel(request.params.name))
  app.post<ModelRoute>('/admin/v1/models/:name/load', async (request, reply) =>
    pool.load(request.params.name, untilClosed(reply.raw)),
  )
  app.post<ModelRoute>('/admin/v1/models/:name/unload', async (request, reply) =>
    pool.unload(request.params.name, untilClosed(reply.raw)),
  )
  app.get('/admin/v1/devices', listDevices(pool))
  registerMonitor(app, monitoring, (request) => operatorOf(request).actor)
  registerMonitorOfOperator(app, monitoring)
  app.get('/admin/v1/scheduler/explain', explainModel(pool))
  app.get('/admin/v1/scheduler/journal', () => pool.journal())
  app.post('/admin/v1/scheduler/defragment', async (request, reply) =>
    defragment(pool, () => untilClosed(reply.raw))(request),
  )
  app.post('/admin/v1/broadcast', async (request) => {
    const notice = parseRequest(Broadcast, parseJson(request.body as Buffer))
    realtime.broadcast(operatorOf(request).organisationId, notice)
    return { announced: true }
  })
  app.get('/admin/v1/cache', async () => ({ ...cache.stats(), vectorsKept }))
  app.post(
    '/admin/v1/cache/invalidate',
    invalidate(cache, (request) => operatorOf(request).organisationId),
  )
  app.get('/admin/v1/database/doctor', async (request) => {
    const { memoryBytes } = parseRequest(DoctorQuery, request.query)
    return { findings: await present(database).doctor({ memoryBytes }) }
  })
  app.get('/admin/v1/database/queries', async (request) =>
    present(database).queries(parseRequest(StatementsQuery, request.query)),
  )
  app.get('/admin/v1/database/migrations', async () => present(database).migrations())
  return app
}

function present<Part>(part: Part | undefined): Part {
  if (part !== undefined) return part
  throw new HelixError('not_implemented', 'The database belongs to the auth service: ask on its machine.')
}

function operatorOf({ headers }: FastifyRequest): Operator {
  const named = headers[ORGANISATION_HEADER]
  return { actor: 'operator', organisationId: typeof named === 'string' ? named : DEFAULT_ORGANISATION }
}

interface BackupRoute {
  Params: { id: string }
}

interface ModelRoute {
  Params: { name: string }
}

/** Aborts when the asker leaves before the answer. */
function untilClosed(response: import('node:http').ServerResponse): AbortSignal {
  const controller = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) controller.abort(new Error('the asker left'))
  })
  return controller.signal
}
