import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import {
  type AuthClient,
  DEFAULT_ORGANISATION,
  type Operator,
  ORGANISATION_HEADER,
} from '../../contracts/auth.ts'
import type { PoolClient } from '../../contracts/pool.ts'
import type { Logger } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import { errorReply } from '../hooks/error-reply.ts'
import { makeRequestId } from '../hooks/request-id.ts'
import { registerAdministration } from '../routes/administration.ts'
import { refuseUnknown } from '../routes/unknown.ts'

export interface ControlParts {
  readonly auth: AuthClient
  readonly pool: PoolClient
  /** What `helixflow doctor` and `models list` show of the running server. */
  readonly status: () => Promise<object>
  readonly log: Logger
  readonly random: Random
}

/**
 * Administration for the command line, on a Unix socket that only the user who runs the server can open: the file's
 * permission is the authentication.
 */
export function buildControlApp({ auth, pool, status, log, random }: ControlParts): FastifyInstance {
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
  registerAdministration(app, auth, operatorOf)
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

function operatorOf({ headers }: FastifyRequest): Operator {
  const named = headers[ORGANISATION_HEADER]
  return { actor: 'operator', organisationId: typeof named === 'string' ? named : DEFAULT_ORGANISATION }
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
