import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { ConflictGate } from './conflict-gate.ts'

/** Either done, or given up by the server in favour of somebody else's work. */
export type Attempt<Result> =
  | { readonly done: true; readonly result: Result }
  | { readonly done: false; readonly reason: unknown }

const RETRIES_MAX = 5

/** The longest wait before the first retry; it doubles with each one. */
const FIRST_DELAY_MAX_MS = 10

/** How long one holds up the next: twice the time after which the server looks for a deadlock. */
const PATIENCE_MS = 2_000

/** What is tried again by which rules. */
export type ConflictKind =
  /** What meets others fails: under contention fewer of them are done at the same time. */
  | 'optimistic'
  /** Statements wait for others, and only a deadlock ends one: nobody is held up but those who lost before. */
  | 'locking'

/** Tries again what lost against others. */
export class ConflictRetry {
  private readonly gates: Readonly<Record<ConflictKind, ConflictGate>>

  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly onRetry: () => void = () => {},
  ) {
    this.gates = {
      optimistic: new ConflictGate(PATIENCE_MS, clock),
      locking: new ConflictGate(PATIENCE_MS, clock),
    }
  }

  /**
   * At most five times. The waits are random, or those who met would meet again, and grow.
   * @throws HelixError `storage_unavailable` when it loses every time; what `attempt` throws
   */
  async run<Result>(kind: ConflictKind, attempt: () => Promise<Attempt<Result>>): Promise<Result> {
    for (let retries = 0; ; retries++) {
      const outcome = await this.tryOnce(kind, retries, attempt)
      if (outcome.done) return outcome.result
      if (retries === RETRIES_MAX) throw givenUp(outcome.reason)
      this.onRetry()
      await delay(this.clock, this.random.uniform() * FIRST_DELAY_MAX_MS * 2 ** retries)
    }
  }

  private async tryOnce<Result>(
    kind: ConflictKind,
    retries: number,
    attempt: () => Promise<Attempt<Result>>,
  ): Promise<Attempt<Result>> {
    if (kind === 'locking' && retries === 0) return attempt()
    const leave = await this.gates[kind].enter()
    let conflicted = false
    try {
      const outcome = await attempt()
      conflicted = !outcome.done
      return outcome
    } finally {
      leave(conflicted)
    }
  }
}

function givenUp(reason: unknown): HelixError {
  const { message } = HelixError.from(reason)
  return new HelixError(
    'storage_unavailable',
    'Too many changes to the same data at the same time. Try again shortly.',
    { internal: `given up after ${RETRIES_MAX} retries: ${message}`, cause: reason },
  )
}
