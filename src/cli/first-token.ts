import { Client } from 'undici'
import type { PoolClient, Replica } from '../contracts/pool.ts'
import { HelixError } from '../core/errors.ts'

/**
 * Generates one token, which also warms the engine up.
 * @returns milliseconds from the start of this program to that token
 */
export async function firstToken(pool: PoolClient, model: string, signal: AbortSignal): Promise<number> {
  const replica = await readyReplica(pool, model)
  const { url, socketPath, apiKey } = replica.address
  const client = new Client(new URL(url).origin, socketPath === undefined ? {} : { socketPath })
  try {
    const { statusCode, body } = await client.request({
      method: 'POST',
      path: '/v1/completions',
      headers: {
        'content-type': 'application/json',
        ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}),
      },
      body: JSON.stringify({ model: replica.engineModel, prompt: 'Hello', max_tokens: 1 }),
      signal,
    })
    const text = await body.text()
    if (statusCode === 200) return performance.now()
    throw new HelixError('engine_failed', 'The engine did not generate a first token.', {
      internal: text.slice(0, 500),
    })
  } finally {
    await client.close()
  }
}

async function readyReplica(pool: PoolClient, model: string): Promise<Replica> {
  let ready: Replica | undefined
  const unwatch = pool.watchReplicas((replicas) => {
    ready = replicas.find((replica) => replica.model === model)
  })
  unwatch()
  if (ready) return ready
  throw new HelixError('model_unavailable', `The model '${model}' is not loaded.`)
}
