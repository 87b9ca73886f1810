/** When answers are kept: those that would be the same again, all, or none. */
export type CacheMode = 'deterministic' | 'always' | 'never'

/** What a request itself wants of the cache. */
export type CacheWish = 'use' | 'refresh' | 'bypass'

export interface SemanticRule {
  /** The model that makes the embeddings. */
  readonly model: string
  /** Questions at least as similar as this share an answer. */
  readonly threshold: number
}

/** What holds for requests to some models and routes. */
export interface CacheRule {
  readonly model?: string | undefined
  readonly route?: string | undefined
  readonly mode: CacheMode
  readonly ttl?: number | undefined
  readonly staleFor?: number | undefined
  readonly semantic?: SemanticRule | undefined
}

export interface CachePolicy {
  readonly ttlMs: number
  readonly staleMs: number
  /** The first that fits holds. */
  readonly rules: readonly CacheRule[]
}

/** What is known of a request when it is decided whether it has to do with the cache. */
export interface CacheQuestion {
  readonly model: string
  readonly route: string
  /** The same request would be answered in the same way again. */
  readonly deterministic: boolean
  readonly wish: CacheWish | undefined
  /** The request's own time to live. */
  readonly ttlMs: number | undefined
}

export interface CacheDecision {
  /** Whether an answer that is there may be given. */
  readonly look: boolean
  readonly ttlMs: number
  readonly staleMs: number
  readonly semantic: SemanticRule | undefined
}

/** Whether and how the cache takes part in a request; undefined: not at all. A request's wish never beats `never`. */
export function decideCaching(policy: CachePolicy, question: CacheQuestion): CacheDecision | undefined {
  const rule = policy.rules.find((one) => fits(one, question))
  const mode = rule?.mode ?? 'deterministic'
  if (mode === 'never' || question.wish === 'bypass') return undefined
  const wanted = mode === 'always' || question.deterministic || question.wish !== undefined
  if (!wanted) return undefined
  const ttlMs = rule?.ttl ?? policy.ttlMs
  return {
    look: question.wish !== 'refresh',
    ttlMs: Math.min(ttlMs, question.ttlMs ?? ttlMs),
    staleMs: rule?.staleFor ?? policy.staleMs,
    semantic: rule?.semantic,
  }
}

function fits(rule: CacheRule, { model, route }: CacheQuestion): boolean {
  return (rule.model ?? model) === model && (rule.route ?? route) === route
}
