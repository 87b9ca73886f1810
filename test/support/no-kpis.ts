import { HelixError } from '../../src/core/errors.ts'

/** For an auth service that nobody asks for figures of the business: whoever does is told so. */
export const noKpis = {
  kpis: async () => {
    throw new HelixError('not_implemented', 'This test reckons no figures of the business.')
  },
}
