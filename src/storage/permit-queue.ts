import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'

export interface PermitQueueOptions {
  readonly permits: number
  /** Who would be one more of the waiting is refused at once. */
  readonly waitingMax: number
  /** Longest wait. */
  readonly timeoutMs: number
  readonly clock: Clock
}

/**
 * A fixed number of permits, given in the order of asking. In front of a connection pool it bounds the wait for a
 * free connection and nothing else: a limit inside the pool would also cut the handshake of a new connection short,
 * so that a cold pool under load never opens one.
 */
export class PermitQueue {
  // A set keeps the order, and gives up a place in its middle without moving the others.
  private readonly waiting = new Set<Waiter>()
  private held = 0

  constructor(private readonly options: PermitQueueOptions) {}

  /**
   * Resolves with what gives the permit back.
   * @throws HelixError `storage_unavailable` after the time limit, or at once when too many wait already
   */
  acquire(): Promise<() => void> {
    const { permits, waitingMax, timeoutMs, clock } = this.options
    if (this.held < permits) return Promise.resolve(this.grant())
    if (this.waiting.size >= waitingMax) {
      return Promise.reject(busy(`${waitingMax} wait already for one of ${permits} connections`))
    }
    return new Promise((resolve, reject) => {
      const cancel = clock.schedule(timeoutMs, () => {
        this.waiting.delete(waiter)
        reject(busy(`no free connection within ${timeoutMs} ms; ${permits} are in use`))
      })
      const waiter = () => {
        cancel()
        resolve(this.grant())
      }
      this.waiting.add(waiter)
    })
  }

  get waitingCount(): number {
    return this.waiting.size
  }

  /** A permit if one is free at this moment. */
  tryAcquire(): (() => void) | undefined {
    return this.held < this.options.permits ? this.grant() : undefined
  }

  private grant(): () => void {
    this.held += 1
    let given = false
    return () => {
      if (given) return
      given = true
      this.held -= 1
      const [next] = this.waiting
      if (!next) return
      this.waiting.delete(next)
      next()
    }
  }
}

type Waiter = () => void

function busy(internal: string): HelixError {
  return new HelixError('storage_unavailable', 'The database is busy. Try again shortly.', { internal })
}
