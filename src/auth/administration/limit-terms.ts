import { formatDuration, parseDuration } from '../../config/quantities.ts'
import type { OperationInput } from '../../contracts/administration/operations.ts'
import {
  LIMIT_TIMES_WINDOW_MAX,
  type LimitHolder,
  type LimitRule,
  type LimitTerms,
  type Measure,
} from '../../contracts/limits.ts'
import { HelixError } from '../../core/errors.ts'
import { formatMoney, parseMoney } from '../../core/money.ts'

export type LimitInput = OperationInput<'limits.set'>

const WINDOW_MIN_MS = 1_000
const WINDOW_MAX_MS = 31 * 86_400_000
/** Nobody's client waits longer. */
const SHAPE_MAX_WAIT_MAX_MS = 600_000

type Field = 'window' | 'algorithm' | 'burst' | 'period' | 'shapeMaxWait'

const OF_RATES: readonly Field[] = ['window', 'algorithm', 'burst', 'shapeMaxWait']

/** What each measure can have beside its limit. */
const FIELDS: Readonly<Record<Measure, readonly Field[]>> = {
  requests: OF_RATES,
  tokens: OF_RATES,
  input_tokens: OF_RATES,
  output_tokens: OF_RATES,
  concurrency: [],
  money: ['period'],
}

/**
 * How much of what, from what was asked for.
 * @throws HelixError `invalid_value` with the name of the field that does not go with the others
 */
export function termsOf(input: LimitInput): LimitTerms {
  const { measure, model, period, algorithm = 'token-bucket' } = input
  for (const field of ['window', 'algorithm', 'burst', 'period', 'shapeMaxWait'] as const) {
    if (input[field] !== undefined && !FIELDS[measure].includes(field))
      throw wrong(field, `is not for a limit of ${measure}`)
  }
  if (measure === 'money' && period === undefined) throw wrong('period', 'is needed: day, week or month')
  const amount = measure === 'money' ? moneyOf(input) : countOf(input)
  const windowMs = FIELDS[measure].includes('window') ? windowOf(input) : 0
  const { burst } = input
  if (burst !== undefined && algorithm !== 'token-bucket') throw wrong('burst', 'is for token-bucket alone')
  if (windowMs > 0) {
    checkProduct('limit', amount, windowMs)
    checkProduct('burst', burst ?? 0, windowMs)
  }
  return { measure, model, amount, algorithm, windowMs, burst, period, shapeMaxWaitMs: shapeOf(input) }
}

/** @throws HelixError `invalid_value` when nothing of that kind is below the holder */
export function checkEach(each: LimitRule['each'], holder: LimitHolder): void {
  const below = BELOW[holder]
  if (each === undefined || below.includes(each)) return
  const which = below.length === 0 ? 'nothing' : below.join(' or ')
  throw wrong('each', `below the ${holder} that it lies on there can be ${which}`)
}

/** Whether this one lets more through than that one, in some second or another. */
export function isLooser(one: LimitTerms, than: LimitTerms): boolean {
  // In no window more than its limit: as strict as any.
  const strict = one.algorithm === 'sliding-window' || one.algorithm === than.algorithm
  const burstOf = ({ burst, amount }: LimitTerms) => burst ?? amount
  return one.amount > than.amount || burstOf(one) > burstOf(than) || !strict
}

/** As people write it; fields that a measure does not have are absent. */
export function viewTerms({ measure, model, amount, algorithm, windowMs, ...terms }: LimitTerms) {
  const { burst, period, shapeMaxWaitMs } = terms
  const rate = windowMs > 0
  return {
    measure,
    limit: measure === 'money' ? formatMoney(amount) : amount,
    ...(model === undefined ? {} : { model }),
    ...(rate ? { window: formatDuration(windowMs), algorithm } : {}),
    ...(burst === undefined ? {} : { burst }),
    ...(period === undefined ? {} : { period }),
    ...(shapeMaxWaitMs === 0 ? {} : { shapeMaxWait: formatDuration(shapeMaxWaitMs) }),
  }
}

const BELOW: Readonly<Record<LimitHolder, readonly string[]>> = {
  organisation: ['project', 'key', 'user'],
  project: ['key', 'user'],
  key: [],
  user: [],
}

function countOf({ limit }: LimitInput): number {
  const text = String(limit)
  const count = /^\d{1,16}$/.test(text) ? Number(text) : 0
  if (count >= 1 && Number.isSafeInteger(count)) return count
  throw wrong('limit', 'must be a whole number, at least 1')
}

function moneyOf({ limit }: LimitInput): number {
  const billionths = parseMoney(String(limit))
  if (billionths !== undefined && billionths > 0) return billionths
  throw wrong(
    'limit',
    'must be an amount such as 12.50: above zero, below nine million, with at most nine decimals',
  )
}

function windowOf({ window, measure }: LimitInput): number {
  if (window === undefined) throw wrong('window', `is needed for a limit of ${measure}; write for example 1m`)
  const windowMs = durationOf('window', window)
  if (windowMs >= WINDOW_MIN_MS && windowMs <= WINDOW_MAX_MS) return windowMs
  throw wrong('window', 'must be from 1s to 31d')
}

function shapeOf({ shapeMaxWait }: LimitInput): number {
  if (shapeMaxWait === undefined) return 0
  const waitMs = durationOf('shapeMaxWait', shapeMaxWait)
  if (waitMs <= SHAPE_MAX_WAIT_MAX_MS) return waitMs
  throw wrong('shapeMaxWait', 'must be at most 10m')
}

function durationOf(field: Field, text: string): number {
  const milliseconds = parseDuration(text)
  if (milliseconds !== undefined && Number.isInteger(milliseconds)) return milliseconds
  throw wrong(field, `'${text}' is not a duration in whole milliseconds; write for example 30s, 1m, 1h or 1d`)
}

/** Levels are counted in single tokens times milliseconds, which must stay whole numbers. */
function checkProduct(field: 'limit' | 'burst', amount: number, windowMs: number): void {
  const most = Math.floor(LIMIT_TIMES_WINDOW_MAX / windowMs)
  if (amount > most) throw wrong(field, `must be at most ${most} over ${formatDuration(windowMs)}`)
}

function wrong(field: string, why: string): HelixError {
  return new HelixError('invalid_value', `'${field}': ${why}.`, { param: field })
}
