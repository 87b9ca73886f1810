import { ScriptCall } from './script-call.ts'

export interface ScriptBatchOptions {
  /** Runs the script. */
  readonly run: (call: ScriptCall) => Promise<Buffer>
  /** Names calls; unlike any other's. */
  readonly id: string
  readonly nowMs: (() => number) | undefined
}

/**
 * Questions that are asked in the same turn of the event loop go to Redis in one call: under load a decision costs a
 * fraction of a round trip, and a single one waits for nothing.
 */
export class ScriptBatch {
  /** By slot: a script may only touch keys of one. */
  private readonly calls = new Map<string, ScriptCall>()
  private made = 0

  constructor(private readonly options: ScriptBatchOptions) {}

  /** The call that a question of this moment goes in. */
  callOf(slot: string): ScriptCall {
    const nowMs = this.options.nowMs?.()
    const call = this.calls.get(slot)
    if (call && call.nowMs === nowMs && !call.isFull) return call
    if (call) this.send(slot, call)
    if (this.calls.size === 0) setImmediate(() => this.sendAll())
    const next = new ScriptCall(`${slot}m:${this.options.id}.${(this.made++).toString(36)}`, nowMs)
    this.calls.set(slot, next)
    return next
  }

  private sendAll(): void {
    for (const [slot, call] of this.calls) this.send(slot, call)
  }

  private send(slot: string, call: ScriptCall): void {
    this.calls.delete(slot)
    this.options.run(call).then(
      (answers) => call.answered(answers),
      (reason) => call.failed(reason),
    )
  }
}
