import type { FastifyRequest } from 'fastify'
import type { Identity } from '../../contracts/auth.ts'
import type { ModelView, PoolClient } from '../../contracts/pool.ts'
import { HelixError } from '../../core/errors.ts'

/** GET /v1/models: what a request may name. */
export function listModels(pool: PoolClient) {
  return async ({ identity }: FastifyRequest) => {
    const models = (await pool.listModels()).filter(({ name }) => isAllowed(identity, name))
    return { object: 'list', data: models.filter(isUsable).map(toModel) }
  }
}

/** GET /v1/models/{id} */
export function showModel(pool: PoolClient) {
  return async (request: FastifyRequest) => {
    const { '*': name } = request.params as { readonly '*': string }
    if (isAllowed(request.identity, name)) return toModel(await pool.showModel(name))
    throw new HelixError('model_not_found', `The model '${name}' does not exist.`, { param: 'model' })
  }
}

function isAllowed(identity: Identity | undefined, model: string): boolean {
  return identity?.models === undefined || identity.models.includes(model)
}

function isUsable({ state }: ModelView): boolean {
  return state !== 'failed' && state !== 'quarantined'
}

function toModel(model: ModelView) {
  return {
    id: model.name,
    object: 'model',
    created: Math.floor(model.addedAtMs / 1000),
    owned_by: 'helixflow',
    max_model_len: model.contextLength ?? null,
    state: model.state,
  }
}
