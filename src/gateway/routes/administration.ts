import type { FastifyInstance, FastifyRequest } from 'fastify'
import { OPERATIONS, type OperationName } from '../../contracts/administration/operations.ts'
import type { AuthClient, Caller } from '../../contracts/auth.ts'
import { parseJson } from '../../contracts/openai/parse.ts'
import { HelixError } from '../../core/errors.ts'

/** Every operation of the administration table as a route below /admin/v1. */
export function registerAdministration(
  app: FastifyInstance,
  auth: Pick<AuthClient, 'administer'>,
  callerOf: (request: FastifyRequest) => Caller,
): void {
  for (const [operation, { method, path }] of Object.entries(OPERATIONS)) {
    app.route({
      method,
      url: `/admin/v1${path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
      // The operation's own permission is checked where the object is known: in the auth service.
      config: { access: 'authenticated' },
      handler: (request) =>
        auth.administer({
          caller: callerOf(request),
          operation: operation as OperationName,
          input: inputOf(request),
          requestId: request.id,
          source: request.ip,
          idempotencyKey: idempotencyKeyOf(request),
        }),
    })
  }
}

/** Path, query and body as one object, in which nothing may stand twice. */
function inputOf(request: FastifyRequest): Record<string, unknown> {
  const input: Record<string, unknown> = Object.create(null)
  for (const part of [request.params, request.query, bodyOf(request)]) {
    for (const [name, value] of Object.entries(part as object)) {
      if (name in input) {
        throw new HelixError('invalid_value', `'${name}' is given twice, in the address and in the body.`, {
          param: name,
        })
      }
      input[name] = value
    }
  }
  return { ...input }
}

function bodyOf({ body }: FastifyRequest): object {
  if (!Buffer.isBuffer(body) || body.length === 0) return {}
  const value = parseJson(body)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new HelixError('invalid_value', 'The request body must be a JSON object.')
}

function idempotencyKeyOf({ headers }: FastifyRequest): string | undefined {
  const given = headers['idempotency-key']
  if (given === undefined) return undefined
  if (typeof given === 'string' && /^[\x21-\x7e]{1,255}$/.test(given)) return given
  throw new HelixError('invalid_value', 'Idempotency-Key must be 1 to 255 visible ASCII characters.', {
    param: 'Idempotency-Key',
  })
}
