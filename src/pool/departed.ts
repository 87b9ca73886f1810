/** So long it is said of what is gone that it is gone: alerts need to see it, and names may come and go for ever. */
const SHOWN_MS = 3_600_000

/** What was there once and is there no more. */
export class Departed {
  private readonly lastSeenMs = new Map<string, number>()

  /** @param present all that is there now */
  look(present: readonly string[], nowMs: number): { lost: readonly string[]; forgotten: readonly string[] } {
    const here = new Set(present)
    for (const name of here) this.lastSeenMs.set(name, nowMs)
    const lost: string[] = []
    const forgotten: string[] = []
    for (const [name, seenMs] of this.lastSeenMs) {
      if (here.has(name)) continue
      if (nowMs - seenMs < SHOWN_MS) lost.push(name)
      else forgotten.push(name)
    }
    for (const name of forgotten) this.lastSeenMs.delete(name)
    return { lost, forgotten }
  }
}
