import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import { HelixError } from '../../core/errors.ts'

const METHODS: readonly HTTPMethods[] = ['GET', 'POST', 'DELETE', 'PUT', 'PATCH']

/** Everything that no route takes: a wrong method is told apart from a wrong address. */
export function refuseUnknown(app: FastifyInstance) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const [path = '/'] = request.url.split('?', 1)
    const allowed = METHODS.filter((method) => app.findRoute({ method, url: path }) !== null)
    if (allowed.length === 0) {
      throw new HelixError('unknown_url', `There is nothing at ${request.method} ${path.slice(0, 200)}.`)
    }
    reply.header('allow', allowed.join(', '))
    throw new HelixError(
      'method_not_allowed',
      `${path} takes ${allowed.join(' or ')}, not ${request.method}.`,
    )
  }
}
