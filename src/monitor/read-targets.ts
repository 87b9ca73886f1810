import { HelixError } from '../core/errors.ts'
import type { Sample } from '../core/metrics/sample.ts'
import type { Reading, Target } from './target.ts'

/** Reads all processes at the same time; one that does not answer within `deadlineMs` holds nobody else up. */
export function readTargets(targets: readonly Target[], deadlineMs: number): Promise<readonly Reading[]> {
  return Promise.all(targets.map((target) => readTarget(target, deadlineMs)))
}

async function readTarget(target: Target, deadlineMs: number): Promise<Reading> {
  const { instance, role } = target
  try {
    const samples = await target.read(AbortSignal.timeout(deadlineMs))
    return { instance, role, samples: samples.map((sample) => labelled(sample, instance, role)) }
  } catch (reason) {
    return { instance, role, samples: [], problem: HelixError.from(reason).publicMessage }
  }
}

/** What a metric says under these names itself stays: of `helixflow_target_up`, `role` is that of the other process. */
function labelled({ name, labels, value }: Sample, instance: string, role: string): Sample {
  return { name, labels: { instance, role, ...labels }, value }
}
