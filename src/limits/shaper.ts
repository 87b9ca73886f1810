import type { Clock } from '../core/clock.ts'
import type { Verdict } from './store.ts'

/** A request that would rather wait than be refused. */
export interface Shaped {
  /** The counter that makes it wait, within its tenant. */
  readonly key: string
  /** Takes turns with the others that wait for the same. */
  readonly project: string
  readonly maxWaitMs: number
  /** Asks for what it needs; granted or not. */
  readonly attempt: () => Verdict | Promise<Verdict>
  /** Whether a refusal comes from the counter that it waits for. */
  readonly concerns: (verdict: Verdict) => boolean
  /** Gives back what `attempt` was granted when nobody waits for it any more. */
  readonly undo: () => void
  readonly signal: AbortSignal
}

interface Waiter extends Shaped {
  readonly settle: (verdict: Verdict) => void
  readonly fail: (reason: unknown) => void
  /** Ends what would take it out of the line. */
  readonly cancel: () => void
}

/** Beyond it a request is refused at once: it would wait in vain. */
const WAITING_MAX = 1_000
const PAUSE_MIN_MS = 1

/**
 * Delays requests that a limit refuses until it grants them. One at a time asks for each counter, so that those who wait
 * cost nothing; projects take turns, and within a project the oldest comes first.
 */
export class Shaper {
  private readonly lines = new Map<string, Line>()

  constructor(private readonly clock: Clock) {}

  /** Of others that wait for the same already, what they were told last: then it is not one's turn. */
  refusalOf(key: string): Verdict | undefined {
    return this.lines.get(key)?.refusal
  }

  /**
   * The verdict after the wait: granted, or the refusal that stood when time was up.
   * @param refusal why it waits
   * @throws what `attempt` throws, and the signal's reason
   */
  async wait(shaped: Shaped, refusal: Verdict): Promise<Verdict> {
    let line = this.lines.get(shaped.key)
    if (!line) {
      line = new Line(this.clock, refusal, () => this.lines.delete(shaped.key))
      this.lines.set(shaped.key, line)
    }
    return line.isFull ? refusal : line.add(shaped)
  }
}

/** Those who wait for one counter. */
class Line {
  /** By project, in the order of their turns. */
  private readonly projects = new Map<string, Waiter[]>()
  private waiting = 0
  private running = false

  constructor(
    private readonly clock: Clock,
    public refusal: Verdict,
    private readonly onEmpty: () => void,
  ) {}

  get isFull(): boolean {
    return this.waiting >= WAITING_MAX
  }

  add(shaped: Shaped): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      const { signal } = shaped
      const leave = () => this.leave(waiter)
      const timeUp = this.clock.schedule(shaped.maxWaitMs, leave)
      const waiter: Waiter = {
        ...shaped,
        settle: resolve,
        fail: reject,
        cancel: () => {
          timeUp()
          signal.removeEventListener('abort', leave)
        },
      }
      signal.addEventListener('abort', leave, { once: true })
      const waiters = this.projects.get(shaped.project) ?? []
      waiters.push(waiter)
      this.projects.set(shaped.project, waiters)
      this.waiting++
      if (!this.running) void this.run()
    })
  }

  private async run(): Promise<void> {
    this.running = true
    for (let waiter = this.first(); waiter; waiter = this.first()) {
      const waitMs = await this.attempt(waiter)
      if (waitMs === undefined) continue
      await new Promise<void>((resolve) => this.clock.schedule(Math.max(PAUSE_MIN_MS, waitMs), resolve))
    }
    this.running = false
    this.onEmpty()
  }

  /** Whose turn it is. */
  private first(): Waiter | undefined {
    const [first] = this.projects.values()
    return first?.[0]
  }

  /** How long its counter makes it wait; undefined when it has its verdict. */
  private async attempt(waiter: Waiter): Promise<number | undefined> {
    try {
      const verdict = await waiter.attempt()
      const waits = verdict.refused !== undefined && waiter.concerns(verdict)
      if (waits) this.refusal = verdict
      const isHere = this.projects.get(waiter.project)?.includes(waiter) ?? false
      if (waits && verdict.waitMs !== Number.POSITIVE_INFINITY && isHere) return verdict.waitMs
      this.remove(waiter)
      if (isHere) waiter.settle(verdict)
      else if (verdict.refused === undefined) waiter.undo()
    } catch (reason) {
      this.remove(waiter)
      waiter.fail(reason)
    }
    return undefined
  }

  private leave(waiter: Waiter): void {
    this.remove(waiter)
    if (waiter.signal.aborted) waiter.fail(waiter.signal.reason)
    else waiter.settle(this.refusal)
  }

  /** Its project goes to the end of the line. */
  private remove(waiter: Waiter): void {
    waiter.cancel()
    const waiters = this.projects.get(waiter.project)
    const place = waiters?.indexOf(waiter) ?? -1
    if (!waiters || place < 0) return
    waiters.splice(place, 1)
    this.waiting--
    this.projects.delete(waiter.project)
    if (waiters.length > 0) this.projects.set(waiter.project, waiters)
  }
}
