import type { ServerResponse } from 'node:http'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'

/** The requests at work, and the end of taking new ones. */
export class Drain {
  draining = false
  private readonly open = new Set<object>()
  private onIdle: (() => void) | undefined

  /** Counts a request until its connection has done with it. */
  enter(response: ServerResponse): void {
    response.once('close', this.hold())
  }

  /** Something runs that is to be waited for. Returns what says that it has ended. */
  hold(): () => void {
    const held = {}
    this.open.add(held)
    return () => {
      if (this.open.delete(held) && this.open.size === 0) this.onIdle?.()
    }
  }

  /** Refuses new requests from now on; resolves when the running ones have ended, or after the grace time. */
  begin(clock: Clock, graceMs: number): Promise<void> {
    this.draining = true
    if (this.open.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const cancel = clock.schedule(graceMs, resolve)
      this.onIdle = () => {
        cancel()
        resolve()
      }
    })
  }
}

/** What new work is answered while the gateway drains. */
export function drainingError(): HelixError {
  return new HelixError('server_draining', 'The server is shutting down; send the request again.', {
    retryAfterMs: 250,
  })
}
