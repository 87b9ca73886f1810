import { createHash } from 'node:crypto'
import type { Exchange } from './exchange.ts'

/**
 * The exchange with a mark of whose request it is (an organisation, a project), so that an engine of ours reuses nothing
 * that it computed for others: how long a first token takes would tell who else has sent that text. vLLM and SGLang know
 * the field by this name, and llama-server in our build; other builds ignore it.
 */
export function withCacheSalt(exchange: Exchange, owner: readonly string[]): Exchange {
  const salt = cacheSalt(owner)
  return {
    ...exchange,
    body: (replica, asked) => {
      const body = exchange.body(replica, asked)
      return replica.engine === 'upstream' ? body : { ...body, cache_salt: salt }
    },
  }
}

/** The same at every gateway, and no name: engines need not know for whom they work. */
function cacheSalt(owner: readonly string[]): string {
  const named = JSON.stringify(['cache_salt', ...owner])
  return createHash('sha256').update(named).digest('base64url').slice(0, 22)
}
