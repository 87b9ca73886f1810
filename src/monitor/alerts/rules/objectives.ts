import type { Query } from '../../query/query.ts'
import type { AlertRule } from '../rule.ts'
import { above, all, HOUR_MS, MINUTE_MS, share } from '../rule-parts.ts'

/**
 * What callers are promised over 30 days. Alerts tell how fast the errors that this allows are used up, in a long and a
 * short window at once, so that they neither miss a slow loss nor go on after it ended (Google, The Site Reliability
 * Workbook, chapter 5).
 */
const OBJECTIVES = {
  /** Of generations and other calls, the share that does not fail for a reason of ours. */
  availability: 0.995,
  /** Of streams, the share whose first token comes within that time. */
  firstToken: { share: 0.95, withinSeconds: 2 },
} as const

/** 14.4 times: a fiftieth of a month's errors in an hour. 6 times: a twentieth in six hours. */
const BURNS = [
  { severity: 'critical', factor: 14.4, longMs: HOUR_MS, shortMs: 5 * MINUTE_MS, forMs: 2 * MINUTE_MS },
  { severity: 'warning', factor: 6, longMs: 6 * HOUR_MS, shortMs: 30 * MINUTE_MS, forMs: 5 * MINUTE_MS },
] as const

/** Fewer in the long window are too few to say anything. */
const REQUESTS_MIN = 50

const answered = { metric: 'helixflow_requests_total', where: { route: /\/v1\/.*/ } } as const

export const OBJECTIVE_RULES: readonly AlertRule[] = BURNS.flatMap(
  ({ severity, factor, longMs, shortMs, forMs }): AlertRule[] => [
    {
      name: 'AvailabilityBudgetBurn',
      severity,
      condition: all(
        above(failedShare(longMs), rounded(factor * (1 - OBJECTIVES.availability))),
        above(failedShare(shortMs), rounded(factor * (1 - OBJECTIVES.availability))),
        above({ ...answered, kind: 'increase', windowMs: longMs }, REQUESTS_MIN),
      ),
      forMs,
      summary: '{value percent} of all requests failed for a reason of ours; 0.5 % is what a month allows.',
      meaning: `At this rate the failures that a month may have are used up in ${daysOf(factor)}.`,
      action:
        'See which model and which error code fail most, and look at the alerts that fire beside this one.',
      explains: [{ alerts: ['ErrorRateHigh'] }],
    },
    {
      name: 'FirstTokenBudgetBurn',
      severity,
      condition: all(
        above(slowShare(longMs), rounded(factor * (1 - OBJECTIVES.firstToken.share))),
        above(slowShare(shortMs), rounded(factor * (1 - OBJECTIVES.firstToken.share))),
        above({ kind: 'scale', of: firstTokens(longMs), by: longMs / 1000 }, REQUESTS_MIN),
      ),
      forMs,
      summary: '{value percent} of all streams waited longer than 2 s for their first token; 5 % may.',
      meaning: `At this rate the slow answers that a month may have are used up in ${daysOf(factor)}.`,
      action:
        'Look whether requests queue, models load, or prompts got longer; add replicas or limit who floods it.',
      explains: [{ alerts: ['FirstTokenSlow'] }],
    },
  ],
)

function failedShare(windowMs: number): Query {
  const of: Query = {
    kind: 'rate',
    metric: answered.metric,
    windowMs,
    where: { ...answered.where, status: /5../ },
  }
  return share(of, { kind: 'rate', windowMs, ...answered })
}

function firstTokens(windowMs: number, atMost?: number): Query {
  return { kind: 'observed', metric: 'helixflow_time_to_first_token_seconds', windowMs, atMost }
}

function slowShare(windowMs: number): Query {
  const inTime = firstTokens(windowMs, OBJECTIVES.firstToken.withinSeconds)
  return share({ kind: 'difference', of: firstTokens(windowMs), less: inTime }, firstTokens(windowMs))
}

function daysOf(factor: number): string {
  return `${Math.round(30 / factor)} days`
}

/** No rest of binary fractions in the text of a rule. */
function rounded(value: number): number {
  return Number(value.toFixed(4))
}
