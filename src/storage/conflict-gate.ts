import type { Clock } from '../core/clock.ts'

/** So many ends in a row without a conflict, and twice as many may go at the same time. */
const QUIET_ENDS = 16

/** With so many at the same time it needs no gate. */
const CROWD = 64

/**
 * How many transactions of this process may run at the same time, given how they fare: half as many after each conflict,
 * twice as many after some without one. Those who fight for the same rows would else meet again with every retry, and
 * the more so the more they are. Without conflicts there is no limit.
 *
 * When nothing has moved for `patienceMs`, the next one goes all the same: a slow one delays others, and never stops
 * them.
 */
export class ConflictGate {
  private readonly waiting: ((leave: Leave) => void)[] = []
  private inside = 0
  private limit = Number.POSITIVE_INFINITY
  private quietEnds = 0
  private cancelPatience = () => {}

  constructor(
    private readonly patienceMs: number,
    private readonly clock: Clock,
  ) {}

  /** Resolves, in the order of asking, with what is to be called at the end. */
  enter(): Promise<Leave> {
    if (this.waiting.length === 0 && this.inside < this.limit) return Promise.resolve(this.admit())
    return new Promise((resolve) => {
      this.waiting.push(resolve)
      if (this.waiting.length === 1) this.admitWaiting()
    })
  }

  private admit(): Leave {
    this.inside += 1
    return (conflicted) => {
      this.adapt(conflicted)
      this.inside -= 1
      this.admitWaiting()
    }
  }

  private adapt(conflicted: boolean): void {
    if (conflicted) {
      this.quietEnds = 0
      this.limit = Math.max(1, Math.floor(Math.min(this.limit, this.inside) / 2))
      return
    }
    this.quietEnds += 1
    if (this.quietEnds < QUIET_ENDS) return
    this.quietEnds = 0
    this.limit = this.limit < CROWD ? this.limit * 2 : Number.POSITIVE_INFINITY
  }

  private admitWaiting(): void {
    while (this.waiting.length > 0 && this.inside < this.limit) this.waiting.shift()?.(this.admit())
    this.cancelPatience()
    if (this.waiting.length === 0) return
    this.cancelPatience = this.clock.schedule(this.patienceMs, () => {
      this.waiting.shift()?.(this.admit())
      this.admitWaiting()
    })
  }
}

export type Leave = (conflicted: boolean) => void
