/** A question that waits for the others of this moment. */
interface Waiting<Answer> {
  readonly line: string
  readonly resolve: (answer: Answer) => void
  readonly reject: (reason: unknown) => void
}

/** So many take a script well under a millisecond. */
const LINES_MAX = 64

/**
 * Questions that are asked in the same turn of the event loop go to Redis in one call: under load a decision costs a
 * fraction of a round trip, and a single one waits for nothing.
 */
export class ScriptBatch<Answer> {
  /** By slot: a script may only touch keys of one. */
  private readonly slots = new Map<string, Waiting<Answer>[]>()
  private scheduled = false

  /** @param call runs the script on the lines of a slot; its answers are in their order */
  constructor(private readonly call: (slot: string, lines: string[]) => Promise<readonly Answer[]>) {}

  ask(slot: string, line: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const waiting = this.slots.get(slot)
      if (waiting) waiting.push({ line, resolve, reject })
      else this.slots.set(slot, [{ line, resolve, reject }])
      if (this.scheduled) return
      this.scheduled = true
      setImmediate(() => this.send())
    })
  }

  private send(): void {
    this.scheduled = false
    for (const [slot, all] of this.slots) {
      for (let at = 0; at < all.length; at += LINES_MAX) this.sendSome(slot, all.slice(at, at + LINES_MAX))
    }
    this.slots.clear()
  }

  private sendSome(slot: string, some: readonly Waiting<Answer>[]): void {
    this.call(
      slot,
      some.map(({ line }) => line),
    ).then(
      (answers) => {
        for (const [place, { resolve }] of some.entries()) resolve(answers[place] as Answer)
      },
      (reason) => {
        for (const { reject } of some) reject(reason)
      },
    )
  }
}
