import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'

/**
 * A fixed number of permits, given in the order of asking. In front of a connection pool it bounds the wait for a
 * free connection and nothing else: a limit inside the pool would also cut the handshake of a new connection short,
 * so that a cold pool under load never opens one.
 */
export class PermitQueue {
  private readonly waiting: Waiter[] = []
  private held = 0

  constructor(
    private readonly permits: number,
    private readonly timeoutMs: number,
    private readonly clock: Clock,
  ) {}

  /** Resolves with what gives the permit back. @throws HelixError `storage_unavailable` after the time limit */
  acquire(): Promise<() => void> {
    if (this.held < this.permits) return Promise.resolve(this.grant())
    return new Promise((resolve, reject) => {
      const cancel = this.clock.schedule(this.timeoutMs, () => {
        this.waiting.splice(this.waiting.indexOf(waiter), 1)
        reject(
          new HelixError('storage_unavailable', 'The database is busy. Try again shortly.', {
            internal: `no free connection within ${this.timeoutMs} ms; ${this.permits} are in use`,
          }),
        )
      })
      const waiter = () => {
        cancel()
        resolve(this.grant())
      }
      this.waiting.push(waiter)
    })
  }

  private grant(): () => void {
    this.held += 1
    let given = false
    return () => {
      if (given) return
      given = true
      this.held -= 1
      this.waiting.shift()?.()
    }
  }
}

type Waiter = () => void
