import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { toConnectError } from './rpc-errors.ts'

/** Does the work of a call; its failure is told in the platform's own words. */
export type Answering = <Answer>(work: () => Promise<Answer>) => Promise<Answer>

/** Failures in the platform's own words; what is a defect stands in this service's log, and not in the answer. */
export function answering(log: Logger): Answering {
  return async (work) => {
    try {
      return await work()
    } catch (reason) {
      const error = HelixError.from(reason)
      if (error.code === 'internal_error') log.error('call failed', { cause: error.message })
      throw toConnectError(error)
    }
  }
}
