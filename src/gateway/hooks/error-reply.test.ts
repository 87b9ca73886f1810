import { describe, expect, test } from 'vitest'
import { ERROR_CODES, HelixError } from '../../core/errors.ts'
import { errorHeaders } from './error-reply.ts'

const noJitter = { uniform: () => 0 }
const fullJitter = { uniform: () => 0.999 }

describe('the headers of a failure', () => {
  test.each(ERROR_CODES)('%s is resent by an SDK exactly when a repeat may help', (code) => {
    const error = new HelixError(code, 'text', { retryAfterMs: 1_000 })
    const headers = errorHeaders(error, noJitter)
    const sdkResends =
      headers['x-should-retry'] === 'true' ||
      (headers['x-should-retry'] === undefined &&
        (error.status === 408 || error.status === 409 || error.status === 429 || error.status >= 500))
    expect(sdkResends).toBe(error.retryable)
    expect('retry-after' in headers).toBe(error.retryable)
  })

  test('a wait is told in both forms, rounded up, with jitter and never over a minute', () => {
    const wait = (retryAfterMs: number, random = noJitter) =>
      errorHeaders(new HelixError('model_loading', 'text', { retryAfterMs }), random)
    expect(wait(1_400)).toMatchObject({ 'retry-after-ms': '1400', 'retry-after': '2' })
    expect(wait(10)).toMatchObject({ 'retry-after-ms': '10', 'retry-after': '1' })
    expect(wait(1_000, fullJitter)).toMatchObject({ 'retry-after-ms': '1250' })
    expect(wait(3_600_000)).toMatchObject({ 'retry-after-ms': '60000', 'retry-after': '60' })
  })

  test('a failure after tokens were generated is not to be repeated', () => {
    const error = new HelixError('engine_failed', 'text', { retryAfterMs: 1_000 }).withoutRetry()
    expect(errorHeaders(error, noJitter)).toEqual({ 'x-should-retry': 'false' })
  })

  test('an unknown error says nothing of itself', () => {
    const error = HelixError.from(new TypeError('secret at /root/key'))
    expect(JSON.stringify(error.toBody())).not.toContain('secret')
    expect(error.message).toContain('secret')
  })
})
