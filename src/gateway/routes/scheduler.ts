import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import type { DeviceView, Explanation, MoveReport, PoolClient } from '../../contracts/pool.ts'

const ExplainQuery = z.strictObject({ model: z.string().min(1).max(256) })

const DefragmentRequest = z.strictObject({
  model: z.string().min(1).max(256).optional(),
  dryRun: z.boolean().default(false),
})

/** GET /admin/v1/scheduler/explain: what would be done for a model now, and what was done lately. */
export function explainModel(pool: PoolClient) {
  return (request: FastifyRequest): Promise<Explanation> =>
    pool.explain(parseRequest(ExplainQuery, request.query).model)
}

/** GET /admin/v1/devices */
export function listDevices(pool: PoolClient) {
  return async (): Promise<{ readonly devices: readonly DeviceView[] }> => ({
    devices: await pool.listDevices(),
  })
}

/**
 * POST /admin/v1/scheduler/defragment: the moves that make room for a model; without a model, for each of those that
 * are not loaded and would need some. They are made one model after the other, unless `dryRun` is true.
 */
export function defragment(pool: PoolClient, untilClosed: (request: FastifyRequest) => AbortSignal) {
  return async (request: FastifyRequest): Promise<{ readonly plans: readonly MoveReport[] }> => {
    const { model, dryRun } = parseRequest(DefragmentRequest, parseJson(request.body as Buffer))
    const signal = untilClosed(request)
    const plans: MoveReport[] = []
    for (const name of model === undefined ? await candidates(pool) : [model]) {
      const plan = dryRun ? await pool.planMoves(name) : await pool.defragment(name, signal)
      if (model !== undefined || plan.moves.length > 0) plans.push(plan)
    }
    return { plans }
  }
}

async function candidates(pool: PoolClient): Promise<readonly string[]> {
  const models = await pool.listModels()
  return models.filter(({ state }) => state === 'available').map(({ name }) => name)
}
