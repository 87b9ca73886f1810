import type { VectorStore, VectorSupport } from '../../contracts/vector-store.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { withinDeadline } from '../../redis/deadline.ts'

const TIMEOUT_MS = 2_000

/** Whether a store keeps vectors. One that does not answer soon keeps none: a gateway starts without it. */
export async function supportOf(store: VectorStore, clock: Clock): Promise<VectorSupport> {
  try {
    return await withinDeadline(clock, TIMEOUT_MS, store.support())
  } catch (reason) {
    return {
      without: `the auth service does not say what it keeps: ${HelixError.from(reason).publicMessage}`,
    }
  }
}
