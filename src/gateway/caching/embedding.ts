import type { Clock } from '../../core/clock.ts'
import type { Span } from '../../core/tracing.ts'
import { withCacheSalt } from '../dispatch/cache-salt.ts'
import type { Asker, Dispatch } from '../dispatch/dispatch.ts'
import { embeddingExchange } from '../dispatch/embedding-exchange.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import type { Recipient } from '../dispatch/recipient.ts'
import type { Behind } from './refresh-passenger.ts'

export interface EmbeddingParts {
  readonly dispatch: Dispatch
  readonly clock: Clock
}

export interface EmbeddingQuestion {
  readonly model: string
  readonly text: string
  readonly tenant: string
  readonly span: Span
}

/** Longer than this an embedding is not waited for: the answer itself may be there sooner. */
const EMBEDDING_DEADLINE_MS = 5_000

/** The embedding of a text by a model of this server; undefined when it cannot be made or paid for. */
export async function embed(
  { dispatch }: EmbeddingParts,
  { model, text, tenant, span }: EmbeddingQuestion,
  charge: (exchange: Exchange) => Behind | undefined,
): Promise<Float32Array | undefined> {
  const exchange = withCacheSalt(embeddingExchange({ model, input: text }), [tenant])
  const behind = charge(exchange)
  if (!behind) return undefined
  const keeper = new BodyKeeper()
  const asker: Asker = {
    tenant: behind.tenant,
    span,
    begun: () => {},
    settled: (settlement) => behind.settled(settlement),
  }
  try {
    await dispatch.send(exchange, keeper, asker, EMBEDDING_DEADLINE_MS)
    return vectorOf(keeper.body)
  } catch {
    // No embedding is no answer from the cache, and nothing else.
    return undefined
  } finally {
    behind.close()
  }
}

/** Keeps a whole answer. */
class BodyKeeper implements Recipient {
  readonly gone = false
  readonly committed = false
  body: Buffer = Buffer.alloc(0)

  whole(body: Buffer): void {
    this.body = body
  }

  write(): boolean {
    return true
  }

  whenGone(): () => void {
    return () => {}
  }

  drained(): void {}
  comment(): void {}
  end(): void {}
  fail(): void {}
  leave(): void {}
}

function vectorOf(body: Buffer): Float32Array | undefined {
  const { data } = JSON.parse(body.toString('utf8')) as { data?: readonly { embedding?: unknown }[] }
  const numbers = data?.[0]?.embedding
  if (!Array.isArray(numbers) || numbers.some((one) => typeof one !== 'number')) return undefined
  return Float32Array.from(numbers as number[])
}
