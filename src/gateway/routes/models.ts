import type { FastifyRequest } from 'fastify'
import type { ModelView, PoolClient } from '../../contracts/pool.ts'

/** GET /v1/models: what a request may name. */
export function listModels(pool: PoolClient) {
  return async () => {
    const models = await pool.listModels()
    return { object: 'list', data: models.filter(isUsable).map(toModel) }
  }
}

/** GET /v1/models/{id} */
export function showModel(pool: PoolClient) {
  return async (request: FastifyRequest) => {
    const { '*': name } = request.params as { readonly '*': string }
    return toModel(await pool.showModel(name))
  }
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
