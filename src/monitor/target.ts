import type { Sample } from '../core/metrics/sample.ts'

/** A process whose metrics are read. */
export interface Target {
  /** Host and port, as Prometheus names it; unlike that of every other. */
  readonly instance: string
  readonly role: string
  /**
   * What it exports now.
   * @throws HelixError where it does not say in time, or says too much
   */
  read(signal: AbortSignal): Promise<readonly Sample[]>
}

/** What one process said. */
export interface Reading {
  readonly instance: string
  readonly role: string
  readonly samples: readonly Sample[]
  /** Why it could not be read; undefined where it could. */
  readonly problem?: string | undefined
}
