import Fastify, { type FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { AuthClient } from '../../contracts/auth.ts'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import type { PoolClient } from '../../contracts/pool.ts'
import type { Logger } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import { errorReply } from '../hooks/error-reply.ts'
import { makeRequestId } from '../hooks/request-id.ts'
import { refuseUnknown } from '../routes/unknown.ts'

export interface ControlParts {
  readonly auth: AuthClient
  readonly pool: PoolClient
  /** What `helixflow doctor` and `models list` show of the running server. */
  readonly status: () => Promise<object>
  readonly backups: BackupControl
  readonly log: Logger
  readonly random: Random
}

/** Backups of the database. What they tell goes to the command line as it is. */
export interface BackupControl {
  status(): Promise<object>
  /** @param secrets undefined: as the settings say */
  create(secrets: boolean | undefined, asker: AbortSignal): Promise<object>
}

const KEY_NAME_MAX = 200
const CreateKey = z.strictObject({
  name: z.string().min(1).max(KEY_NAME_MAX),
  expiresAtMs: z.int().positive().optional(),
})

const CreateBackup = z.strictObject({ secrets: z.boolean().optional() })

/**
 * Administration for the command line, on a Unix socket that only the user who runs the server can open: the file's
 * permission is the authentication.
 */
export function buildControlApp({ auth, pool, status, backups, log, random }: ControlParts): FastifyInstance {
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
  app.get('/admin/v1/keys', async () => ({ keys: await auth.listKeys() }))
  app.post('/admin/v1/keys', async (request) =>
    auth.createKey(parseRequest(CreateKey, parseJson(request.body as Buffer))),
  )
  app.delete<{ Params: { id: string } }>('/admin/v1/keys/:id', async (request) =>
    auth.revokeKey(request.params.id),
  )
  app.get('/admin/v1/backups', () => backups.status())
  app.post('/admin/v1/backups', async (request, reply) => {
    const { secrets } = parseRequest(CreateBackup, parseJson(request.body as Buffer))
    return backups.create(secrets, untilClosed(reply.raw))
  })
  app.get('/admin/v1/models', async () => ({ models: await pool.listModels() }))
  app.get<ModelRoute>('/admin/v1/models/:name', async (request) => pool.showModel(request.params.name))
  app.post<ModelRoute>('/admin/v1/models/:name/load', async (request, reply) =>
    pool.load(request.params.name, untilClosed(reply.raw)),
  )
  app.post<ModelRoute>('/admin/v1/models/:name/unload', async (request, reply) =>
    pool.unload(request.params.name, untilClosed(reply.raw)),
  )
  return app
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
