import { setImmediate as immediately } from 'node:timers/promises'
import type { Sample } from '../core/metrics/sample.ts'
import type { Target } from './target.ts'

/** The metrics of this very process: its registry, seen from here. */
export interface OwnMetrics {
  /** Has everything set that is only looked at when somebody reads, in parts. */
  collect(): Iterable<unknown>
  samples(): Iterable<Sample>
}

export interface LocalTargetOptions {
  readonly instance: string
  readonly role: string
  readonly metrics: OwnMetrics
}

/** So many samples are taken at a time, less than a millisecond; then requests have their turn. */
const AT_ONCE = 500

/** This process, read without a network. */
export function localTarget({ instance, role, metrics }: LocalTargetOptions): Target {
  return {
    instance,
    role,
    read: async () => {
      for (const _part of metrics.collect()) await immediately()
      const samples: Sample[] = []
      for (const sample of metrics.samples()) {
        samples.push(sample)
        if (samples.length % AT_ONCE === 0) await immediately()
      }
      return samples
    },
  }
}
