import { HelixError } from '../../core/errors.ts'
import { formatMoney } from '../../core/money.ts'
import type { Verdict } from '../../limits/store.ts'
import type { Binding } from './bindings.ts'
import { durationText, rateHeaders } from './rate-headers.ts'

/** A client is not told to wait longer: it is told when to come back, and not to try by itself. */
const WAIT_MAX_MS = 60_000

/** What a refused request is told. @param nowMs on the calendar */
export function limitError(
  binding: Binding,
  verdict: Verdict,
  bindings: readonly Binding[],
  nowMs: number,
): HelixError {
  const headers = rateHeaders(bindings, verdict.standings)
  const { measure } = binding.rule
  if (measure === 'money') return budgetError(binding, headers, nowMs)
  const what = describe(binding)
  if (verdict.waitMs === Number.POSITIVE_INFINITY) {
    const text = `This request needs more than its whole limit of ${what}: send a shorter prompt or a smaller max_tokens. What a prompt needs is bounded by its bytes.`
    return new HelixError('request_exceeds_limit', text, { headers })
  }
  const waits = verdict.waitMs <= WAIT_MAX_MS
  const options = {
    type: measure === 'requests' || measure === 'concurrency' ? 'requests' : 'tokens',
    retryAfterMs: verdict.waitMs,
    ...(waits ? {} : { retryable: false }),
    headers: waits ? headers : { ...headers, 'x-helixflow-reset': String(Math.ceil(verdict.waitMs / 1_000)) },
  } as const
  if (measure === 'concurrency') {
    return new HelixError(
      'concurrency_limit_exceeded',
      `Too many requests at the same time: ${what}.`,
      options,
    )
  }
  const text = `Limit reached: ${what}. Try again in ${durationText(verdict.waitMs)}.`
  return new HelixError('rate_limit_exceeded', text, options)
}

function budgetError({ rule, period }: Binding, headers: Record<string, string>, nowMs: number): HelixError {
  const resetSeconds = Math.max(0, Math.ceil(((period?.endMs ?? nowMs) - nowMs) / 1_000))
  const text = `The budget of ${formatMoney(rule.amount)} per ${rule.period} for ${rule.subject.kind} ${rule.subject.id} has too little left for this request.`
  return new HelixError('insufficient_quota', text, {
    headers: { ...headers, 'x-helixflow-budget-reset': String(resetSeconds) },
  })
}

/** A rule in words: `60 requests per 1m0s for key k_1`. */
export function describe({ rule }: Binding): string {
  const { measure, amount, windowMs, subject, model, period } = rule
  const per = measure === 'money' ? ` per ${period}` : windowMs > 0 ? ` per ${durationText(windowMs)}` : ''
  const counted = measure === 'money' ? `${formatMoney(amount)} of money` : `${amount} ${NAMES[measure]}`
  return `${counted}${per} for ${subject.kind} ${subject.id}${model === undefined ? '' : ` with ${model}`}`
}

const NAMES = {
  requests: 'requests',
  tokens: 'tokens',
  input_tokens: 'input tokens',
  output_tokens: 'output tokens',
  concurrency: 'requests at the same time',
} as const
