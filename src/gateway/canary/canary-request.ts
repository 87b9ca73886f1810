import type { Replica } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'
import { withCacheSalt } from '../dispatch/cache-salt.ts'
import { completionExchange } from '../dispatch/completion-exchange.ts'
import { embeddingExchange } from '../dispatch/embedding-exchange.ts'
import type { EngineClients } from '../dispatch/engine-client.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import { type RelayResult, relayWhole } from '../dispatch/relay.ts'

/** What an engine is asked for: a model makes either text or embeddings. */
export type CanaryKind = 'text' | 'embedding'

export interface CanaryAnswer {
  /** Why it is no answer; undefined where it is one. */
  readonly problem: string | undefined
  /** What it answers to, as far as that is known now. */
  readonly kind: CanaryKind | undefined
}

/** A token takes a fraction of a second; what takes so long serves nobody. */
export const CANARY_DEADLINE_MS = 10_000

/** A word that every vocabulary has, always the same: it takes up the same few cells of a cache again and again. */
const WORD = 'Hello'
/** Nobody's requests have this mark, so nobody's cache is read or made warm by it. */
const OWNER = ['canary']

/** Asks an engine for one token, or an embedding where it makes those. */
export async function askCanary(
  replica: Replica,
  kind: CanaryKind | undefined,
  parts: { readonly clients: EngineClients; readonly clock: Clock },
): Promise<CanaryAnswer> {
  const asked = await ask(replica, kind ?? 'text', parts)
  // The table of replicas does not say what a model makes. Each kind refuses at once what only the other one can do.
  if (kind !== undefined || asked.kind !== 'denied' || !isRefusal(asked.status))
    return judged(asked, kind ?? 'text')
  return judged(await ask(replica, 'embedding', parts), 'embedding')
}

async function ask(
  replica: Replica,
  kind: CanaryKind,
  { clients, clock }: { readonly clients: EngineClients; readonly clock: Clock },
): Promise<RelayResult> {
  const exchange = withCacheSalt(exchangeOf(replica, kind), OWNER)
  const abort = new AbortController()
  const cancel = clock.schedule(CANARY_DEADLINE_MS, () => abort.abort())
  try {
    return await relayWhole({
      client: clients.get(replica),
      path: exchange.path,
      body: JSON.stringify(exchange.body(replica, { stream: false })),
      signal: abort.signal,
      firstByteTimeoutMs: CANARY_DEADLINE_MS,
      stallTimeoutMs: CANARY_DEADLINE_MS,
    })
  } finally {
    cancel()
  }
}

function exchangeOf({ model }: Replica, kind: CanaryKind): Exchange {
  if (kind === 'embedding') return embeddingExchange({ model, input: WORD })
  return completionExchange({ model, prompt: WORD, max_tokens: 1, temperature: 0 })
}

function isRefusal(status: number): boolean {
  return (status >= 400 && status < 500 && status !== 429) || status === 501
}

function judged(result: RelayResult, kind: CanaryKind): CanaryAnswer {
  switch (result.kind) {
    case 'complete':
      return { problem: problemOf(result.body, kind), kind }
    case 'denied':
      return { problem: `it answered ${result.status}`, kind: undefined }
    case 'broken':
      return { problem: result.error.message, kind: undefined }
    case 'unanswered':
      return { problem: 'it cannot be reached', kind: undefined }
    case 'aborted':
      return { problem: `it did not answer in ${CANARY_DEADLINE_MS / 1_000} s`, kind: undefined }
  }
}

function problemOf(body: Buffer, kind: CanaryKind): string | undefined {
  const field = kind === 'text' ? '"choices"' : '"data"'
  return body.includes(field) ? undefined : 'its answer is none'
}
