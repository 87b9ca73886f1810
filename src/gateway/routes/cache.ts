import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { ALL, modelName, tagName } from '../../cache/invalidations.ts'
import type { LayeredCache } from '../../cache/layered-cache.ts'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import { HelixError } from '../../core/errors.ts'
import { TAG } from '../caching/cache-wishes.ts'

const InvalidateRequest = z
  .strictObject({
    tags: z.array(z.string().regex(TAG, 'must be letters, digits, ., _ and -')).min(1).max(64).optional(),
    model: z.string().min(1).max(256).optional(),
    all: z.literal(true).optional(),
  })
  .refine((request) => Object.values(request).some((value) => value !== undefined), {
    message: 'name tags, a model, or all: true',
  })

/** POST /v1/cache/invalidate: what was kept for the caller's organisation under these names is not given again. */
export function invalidateCache(cache: LayeredCache) {
  return invalidate(cache, ({ identity }) => {
    if (identity) return identity.organisationId
    throw new HelixError('internal_error', 'Internal error.', { internal: 'no identity' })
  })
}

/** The same for an organisation that is found in another way. */
export function invalidate(cache: LayeredCache, organisationOf: (request: FastifyRequest) => string) {
  return async (request: FastifyRequest) => {
    const { tags, model, all } = parseRequest(InvalidateRequest, parseJson(request.body as Buffer))
    const names = [
      ...(tags ?? []).map(tagName),
      ...(model === undefined ? [] : [modelName(model)]),
      ...(all ? [ALL] : []),
    ]
    await cache.invalidate(organisationOf(request), names)
    return { invalidated: true }
  }
}
