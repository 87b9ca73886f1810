/** Time as an argument: nothing below the services reads the machine's clock by itself. */
export interface Clock {
  /** Milliseconds since the epoch; may jump when the machine's clock is set. For timestamps. */
  now(): number
  /** Milliseconds from an arbitrary start; never goes back. For durations and deadlines. */
  monotonic(): number
  /** Calls `task` once after `delayMs`. The returned function cancels it; a pending one keeps no process alive. */
  schedule(delayMs: number, task: () => void): () => void
}

/** Resolves after `delayMs` on that clock; rejects with the signal's reason when it aborts first. */
export function delay(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = clock.schedule(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** A clock that moves only when told to. For tests and the simulator. */
export class ManualClock implements Clock {
  private readonly tasks: { dueMs: number; task: () => void }[] = []

  constructor(private nowMs = 0) {}

  now(): number {
    return this.nowMs
  }

  monotonic(): number {
    return this.nowMs
  }

  schedule(delayMs: number, task: () => void): () => void {
    const entry = { dueMs: this.nowMs + delayMs, task }
    this.tasks.push(entry)
    return () => {
      const index = this.tasks.indexOf(entry)
      if (index >= 0) this.tasks.splice(index, 1)
    }
  }

  /** Moves time forward and runs what falls due, in order of due time. */
  advance(byMs: number): void {
    const endMs = this.nowMs + byMs
    for (;;) {
      const next = this.tasks.filter((entry) => entry.dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs)[0]
      if (!next) break
      this.tasks.splice(this.tasks.indexOf(next), 1)
      this.nowMs = Math.max(this.nowMs, next.dueMs)
      next.task()
    }
    this.nowMs = endMs
  }
}
