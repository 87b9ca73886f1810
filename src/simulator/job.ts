/** One request of a workload, with everything that the trace left open decided. */
export interface WorkloadRequest {
  readonly id: number
  readonly arrivalMs: number
  readonly model: string
  readonly tenant: string
  /** At least 1. */
  readonly promptTokens: number
  /** At least 1. */
  readonly outputTokens: number
  /** Prefix blocks of the prompt, of `BLOCK_TOKENS` each; empty where the trace knows none. */
  readonly blocks: readonly number[]
}

/** The size of Mooncake's blocks. */
export const BLOCK_TOKENS = 512

/** `failed`: its engine died after the first token, or twice before it. */
export type JobEnd = 'served' | 'refused' | 'cancelled' | 'failed'

/** A request on its way, and what is known of it when it has ended. */
export interface Job {
  readonly request: WorkloadRequest
  /** No instance of its model was ready when it came, or while it waited. */
  cold: boolean
  attempts: number
  instanceId: string | undefined
  /** When an engine began with it, the last time. */
  startedMs: number | undefined
  firstTokenMs: number | undefined
  endMs: number | undefined
  end: JobEnd | undefined
  /** Blocks of its prompt that the engine still held. */
  blocksHit: number
}

export function newJob(request: WorkloadRequest): Job {
  return {
    ...{ request, cold: false, attempts: 0, blocksHit: 0, instanceId: undefined, startedMs: undefined },
    ...{ firstTokenMs: undefined, endMs: undefined, end: undefined },
  }
}
