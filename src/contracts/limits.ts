/** What a limit counts. */
export const MEASURES = [
  'requests',
  'tokens',
  'input_tokens',
  'output_tokens',
  'concurrency',
  'money',
] as const
export type Measure = (typeof MEASURES)[number]

/** How requests and tokens are counted over a window. */
export const LIMIT_ALGORITHMS = ['token-bucket', 'sliding-window', 'fixed-window'] as const
export type LimitAlgorithm = (typeof LIMIT_ALGORITHMS)[number]

/** What money is counted over: calendar periods of UTC; a week begins on Monday. */
export const BUDGET_PERIODS = ['day', 'week', 'month'] as const
export type BudgetPeriod = (typeof BUDGET_PERIODS)[number]

/** On whom a rule lies. */
export const LIMIT_HOLDERS = ['organisation', 'project', 'key', 'user'] as const
export type LimitHolder = (typeof LIMIT_HOLDERS)[number]

export interface LimitSubject {
  readonly kind: LimitHolder
  readonly id: string
}

/** Money is counted in billionths of whatever unit the prices are in, so that sums are whole numbers. */
export const MONEY_UNIT = 1_000_000_000

/** Counts as integers must stay exact where a level is kept in units of one token for one millisecond. */
export const LIMIT_TIMES_WINDOW_MAX = Number.MAX_SAFE_INTEGER

/** How much of something there may be. */
export interface LimitTerms {
  readonly measure: Measure
  /** Only requests for this model; undefined: for all. */
  readonly model: string | undefined
  /** Requests, tokens, simultaneous requests, or money in billionths; a positive whole number. */
  readonly amount: number
  /** Of requests and tokens. */
  readonly algorithm: LimitAlgorithm
  /** Of requests and tokens; 0 for the others. */
  readonly windowMs: number
  /** What a token bucket holds at most; undefined: `amount`. */
  readonly burst: number | undefined
  /** Of money. */
  readonly period: BudgetPeriod | undefined
  /** Instead of being refused, a request waits this long at most; 0: it never waits. */
  readonly shapeMaxWaitMs: number
}

/** A rule as it was set. */
export interface LimitRule extends LimitTerms {
  readonly id: string
  readonly on: LimitSubject
  /**
   * Undefined: all that is below the holder counts together. Else the rule is a default that counts for each by
   * itself, and that a rule lying closer replaces.
   */
  readonly each: 'project' | 'key' | 'user' | undefined
}

/** A rule as it binds one caller. */
export interface EffectiveLimit extends LimitTerms {
  readonly ruleId: string
  /** Whose counter it is: the rule's holder, or the single project, key or user that it counts by itself. */
  readonly subject: LimitSubject
}

/** Who is bound. */
export interface LimitedParty {
  readonly organisationId: string
  readonly projectId: string
  readonly keyId: string | undefined
  readonly userId: string | undefined
}

/**
 * The rules that bind somebody, each with whom it counts. Of rules that count the same measure of the same model over
 * the same window for the same kind of subject, the one that lies closest holds: on the key or user itself, else on its
 * project, else on the organisation.
 */
export function effectiveLimits(rules: readonly LimitRule[], party: LimitedParty): readonly EffectiveLimit[] {
  const ids: Readonly<Record<LimitHolder, string | undefined>> = {
    organisation: party.organisationId,
    project: party.projectId,
    key: party.keyId,
    user: party.userId,
  }
  const closest = new Map<string, LimitRule>()
  for (const rule of rules) {
    if (ids[rule.on.kind] !== rule.on.id || ids[countedKind(rule)] === undefined) continue
    const present = closest.get(slotOf(rule))
    if (!present || distance(rule) < distance(present)) closest.set(slotOf(rule), rule)
  }
  return [...closest.values()].map((rule) => {
    const { id: ruleId, on: _, each: __, ...terms } = rule
    const kind = countedKind(rule)
    return { ...terms, ruleId, subject: { kind, id: ids[kind] ?? '' } }
  })
}

/** Two rules with the same slot say the same thing about the same subjects: setting one replaces the other. */
export function slotOf(rule: Omit<LimitRule, 'id'>): string {
  const { measure, model, windowMs, period } = rule
  return JSON.stringify([countedKind(rule), measure, model ?? null, period ?? windowMs])
}

function countedKind({ on, each }: Pick<LimitRule, 'on' | 'each'>): LimitHolder {
  return each ?? on.kind
}

/** Closer to the caller is smaller. */
function distance({ on }: LimitRule): number {
  return on.kind === 'organisation' ? 2 : on.kind === 'project' ? 1 : 0
}

/** What a subject has spent, asked for one budget. */
export interface SpendQuery {
  readonly subject: LimitSubject
  readonly model: string | undefined
  /** The beginning of the period. */
  readonly sinceMs: number
}

/** One budget that a request would be charged to. */
export interface SpendClaim extends SpendQuery {
  /** Of the rule, in billionths. */
  readonly amount: number
  /** What the request may cost at most, in billionths. */
  readonly cost: number
}

export interface SpendReservation {
  readonly organisationId: string
  readonly requestId: string
  /** After this it counts no more: whoever made it is gone. */
  readonly expiresAtMs: number
  readonly claims: readonly SpendClaim[]
}

/** Money that was spent, as the database knows it: what budgets begin with, and what they fall back to. */
export interface SpendClient {
  /**
   * What each has spent in its period: records that have arrived, and what is reserved. Billionths, in the order of
   * the queries.
   * @throws HelixError `storage_unavailable`
   */
  spent(organisationId: string, queries: readonly SpendQuery[]): Promise<readonly number[]>
  /**
   * Takes a request's worst cost out of all its budgets, or out of none. The same request twice is once.
   * @returns the index of the first claim that has too little left; undefined when all were granted
   * @throws HelixError `storage_unavailable`
   */
  reserveSpend(reservation: SpendReservation): Promise<number | undefined>
  /** Gives reservations back: what they really cost comes with the usage record. @throws HelixError `storage_unavailable` */
  releaseSpend(organisationId: string, requestIds: readonly string[]): Promise<void>
}
