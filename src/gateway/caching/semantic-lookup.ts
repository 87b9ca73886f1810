import type { CacheMetrics } from '../../cache/cache-metrics.ts'
import type { SemanticRule } from '../../cache/cache-rules.ts'
import { type AgeLimits, type CachedAnswer, freshness } from '../../cache/cached-answer.ts'
import type { LayeredCache } from '../../cache/layered-cache.ts'
import { canonicalRequest, type KeyParts, responseKey } from '../../cache/response-key.ts'
import type { Located, VectorIndex } from '../../cache/semantic/vector-index.ts'
import type { Clock } from '../../core/clock.ts'
import type { Span } from '../../core/tracing.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import { type EmbeddingParts, embed } from './embedding.ts'
import type { Behind } from './refresh-passenger.ts'

export interface SemanticParts extends EmbeddingParts {
  readonly index: VectorIndex
  readonly cache: LayeredCache
  readonly clock: Clock
  readonly metrics: CacheMetrics
}

/** A question whose like may have been answered. */
export interface Likeness {
  readonly tenant: string
  readonly rule: SemanticRule
  /** Everything but the words of the last message: equal, or there is no likeness. */
  readonly partition: string
  readonly text: string
  readonly age: AgeLimits
}

export interface LikeAnswer {
  readonly answer: CachedAnswer
  readonly similarity: number
}

export interface LikenessResult {
  readonly found: LikeAnswer | undefined
  /** Undefined when no embedding could be made. */
  readonly vector: Float32Array | undefined
}

/** Answers that are gone from the cache and still in the index are passed over, so many in one question at most. */
const NEAR_MAX = 8

/**
 * The answer to a question that was asked in other words. Tenant, share, model, revision, parameters and everything that
 * was said before are equal, by the hash that names the partition; only then are the words of the last message compared.
 * What is found is an ordinary kept answer: its tenant, age and invalidations are checked as of any other.
 */
export class SemanticLookup {
  private readonly pending = new Map<string, Promise<Float32Array | undefined>>()

  constructor(private readonly parts: SemanticParts) {}

  /** @param charge who pays for the embedding; undefined: nobody can, and there is none */
  async find(
    like: Likeness,
    charge: (exchange: Exchange) => Behind | undefined,
    span: Span,
  ): Promise<LikenessResult> {
    const { metrics } = this.parts
    const vector = await this.embedded(like, charge, span)
    const found = vector && (await this.nearest(like, vector))
    metrics.request('semantic', found ? 'hit' : vector ? 'miss' : 'failed')
    return { found, vector }
  }

  /** The answer with this key is one to this question. */
  learn(like: Likeness, located: Located): void {
    void this.parts.index.add(like, located)
  }

  private async nearest(like: Likeness, vector: Float32Array): Promise<LikeAnswer | undefined> {
    const { index, cache, clock } = this.parts
    const { threshold } = like.rule
    const gone: string[] = []
    let found: LikeAnswer | undefined
    for (const { key, similarity } of await index.nearest(like, vector, { threshold, limit: NEAR_MAX })) {
      const answer = await cache.get(like.tenant, key)
      const fresh = answer && freshness(answer, like.age, clock.now()) === 'fresh'
      if (fresh) {
        found = { answer, similarity }
        break
      }
      gone.push(key)
    }
    // They may be too old for this request only, but the answer that is made or given now is as near.
    if (gone.length > 0) void index.remove(like, gone)
    return found
  }

  /** The same question at the same time is embedded once. */
  private embedded(
    like: Likeness,
    charge: (exchange: Exchange) => Behind | undefined,
    span: Span,
  ): Promise<Float32Array | undefined> {
    const name = JSON.stringify([like.rule.model, like.tenant, like.text])
    const present = this.pending.get(name)
    if (present) return present
    const { text, tenant } = like
    const making = embed(this.parts, { model: like.rule.model, text, tenant, span }, charge).finally(() =>
      this.pending.delete(name),
    )
    this.pending.set(name, making)
    return making
  }
}

/** Undefined for a request without words of a user at its end. */
export function likenessOf(
  parts: KeyParts,
  request: object,
  rest: Pick<Likeness, 'rule' | 'age'> & { readonly embedderRevision: string },
): Likeness | undefined {
  const { messages } = request as { readonly messages?: readonly Message[] }
  const last = messages?.at(-1)
  const text = last?.role === 'user' ? textOf(last.content) : ''
  if (!messages || !last || text === '') return undefined
  const blank = { ...request, messages: [...messages.slice(0, -1), { ...last, content: '' }] }
  // Vectors of another embedding model are none of this one's.
  const embedder = JSON.stringify([rest.rule.model, rest.embedderRevision])
  const partition = responseKey({
    ...parts,
    route: `${parts.route} ${embedder}`,
    request: canonicalRequest(blank),
  })
  return { tenant: parts.tenant, rule: rest.rule, age: rest.age, partition, text }
}

interface Message {
  readonly role: string
  readonly content?: string | readonly { readonly text?: string }[] | null
}

function textOf(content: Message['content']): string {
  if (typeof content === 'string') return content
  return (content ?? []).map(({ text }) => text ?? '').join('\n')
}
