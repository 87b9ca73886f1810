/** Time and chance of the machine, or of a test. */
export interface Time {
  /** Milliseconds from an arbitrary start; never goes back. */
  now(): number
  /** Calls `task` once; the returned function takes that back. */
  schedule(delayMs: number, task: () => void): () => void
}

export const machineTime: Time = {
  now: () => performance.now(),
  schedule: (delayMs, task) => {
    const timer = setTimeout(task, delayMs)
    return () => clearTimeout(timer)
  },
}
