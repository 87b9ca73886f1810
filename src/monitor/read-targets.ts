import { HelixError } from '../core/errors.ts'
import type { Reading, Target } from './target.ts'

/** Reads all processes at the same time; one that does not answer within `deadlineMs` holds nobody else up. */
export function readTargets(targets: readonly Target[], deadlineMs: number): Promise<readonly Reading[]> {
  return Promise.all(targets.map((target) => readTarget(target, deadlineMs)))
}

async function readTarget(target: Target, deadlineMs: number): Promise<Reading> {
  const { instance, role } = target
  try {
    // It takes whole milliseconds alone, and 0.8 of 3 s is none.
    return { instance, role, samples: await target.read(AbortSignal.timeout(Math.ceil(deadlineMs))) }
  } catch (reason) {
    return { instance, role, samples: [], problem: HelixError.from(reason).publicMessage }
  }
}
