import type { ServerResponse } from 'node:http'
import type { Clock } from '../core/clock.ts'

/** The requests at work, and the end of taking new ones. */
export class Drain {
  draining = false
  private readonly open = new Set<ServerResponse>()
  private onIdle: (() => void) | undefined

  /** Counts a request until its connection has done with it. */
  enter(response: ServerResponse): void {
    this.open.add(response)
    response.once('close', () => {
      this.open.delete(response)
      if (this.open.size === 0) this.onIdle?.()
    })
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
