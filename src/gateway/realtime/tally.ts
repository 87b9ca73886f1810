import type { Metrics } from '../../core/metrics.ts'
import { codeLabel } from './close-codes.ts'

/** Counts messages between two looks at the metrics, for counting one there costs more than sending it. */
export class Tally {
  private readonly counts = { in: new Map<string, number>(), out: new Map<string, number>() }

  constructor(private readonly metrics: Metrics) {}

  /** @param type one of a closed set */
  add(direction: 'in' | 'out', type: string): void {
    const counts = this.counts[direction]
    counts.set(type, (counts.get(type) ?? 0) + 1)
  }

  closed(code: number): void {
    this.metrics.add('helixflow_ws_closed_total', { code: codeLabel(code) })
  }

  resumed(outcome: string): void {
    this.metrics.add('helixflow_ws_resume_total', { outcome })
  }

  flush(): void {
    for (const direction of ['in', 'out'] as const) {
      for (const [type, count] of this.counts[direction])
        this.metrics.add('helixflow_ws_messages_total', { direction, type }, count)
      this.counts[direction].clear()
    }
  }
}
