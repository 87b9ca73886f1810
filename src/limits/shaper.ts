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
  /** What it is told when time is up: its own, because another's speaks of other rules. */
  refusal: Verdict
}

/** Beyond it a request is refused at once: it would wait in vain. */
const WAITING_MAX = 1_000
const PAUSE_MIN_MS = 1
/** What was reserved and not used comes back at any time, long before a window is over. */
const PAUSE_MAX_MS = 1_000

/**
 * Delays requests that a limit refuses until it grants them. One at a time asks for each counter, so that those who wait
 * cost nothing; projects take turns, and within a project the oldest comes first.
 */
export class Shaper {
  private readonly lines = new Map<string, Line>()

  constructor(private readonly clock: Clock) {}

  /** How long others that wait for the same already were told to: then it is not one's turn. */
  waitOf(key: string): number | undefined {
    return this.lines.get(key)?.waitMs
  }

  /**
   * The verdict after the wait: granted, or the refusal that stood when time was up.
   * @param refusal why it waits
   * @throws what `attempt` throws, and the signal's reason
   */
  async wait(shaped: Shaped, refusal: Verdict): Promise<Verdict> {
    shaped.signal.throwIfAborted()
    let line = this.lines.get(shaped.key)
    if (!line) {
      line = new Line(this.clock, refusal.waitMs, () => this.lines.delete(shaped.key))
      this.lines.set(shaped.key, line)
    }
    return line.isFull ? refusal : line.add(shaped, refusal)
  }
}

/** Those who wait for one counter. */
class Line {
  /** By project, in the order of their turns. */
  private readonly projects = new Map<string, Waiter[]>()
  private waiting = 0
  private running = false
  /** For whom the line stands still, and what ends that. */
  private pause: { readonly waiter: Waiter; readonly end: () => void } | undefined

  constructor(
    private readonly clock: Clock,
    public waitMs: number,
    private readonly onEmpty: () => void,
  ) {}

  get isFull(): boolean {
    return this.waiting >= WAITING_MAX
  }

  add(shaped: Shaped, refusal: Verdict): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      const { signal } = shaped
      const leave = () => this.leave(waiter)
      const timeUp = this.clock.schedule(shaped.maxWaitMs, leave)
      const waiter: Waiter = {
        ...shaped,
        refusal,
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
      await this.pauseFor(waiter, Math.min(PAUSE_MAX_MS, Math.max(PAUSE_MIN_MS, waitMs)))
    }
    this.running = false
    this.onEmpty()
  }

  /** Until it may be granted, or has left: who comes after it may need less. */
  private async pauseFor(waiter: Waiter, pauseMs: number): Promise<void> {
    await new Promise<void>((end) => {
      const cancel = this.clock.schedule(pauseMs, end)
      this.pause = {
        waiter,
        end: () => {
          cancel()
          end()
        },
      }
    })
    this.pause = undefined
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
      const isHere = this.projects.get(waiter.project)?.includes(waiter) ?? false
      if (waits && verdict.waitMs !== Number.POSITIVE_INFINITY) {
        waiter.refusal = verdict
        this.waitMs = verdict.waitMs
        if (isHere) return verdict.waitMs
      }
      if (this.remove(waiter)) this.nextProject(waiter.project)
      if (isHere) waiter.settle(verdict)
      else if (verdict.refused === undefined) waiter.undo()
    } catch (reason) {
      if (this.remove(waiter)) this.nextProject(waiter.project)
      waiter.fail(reason)
    }
    return undefined
  }

  /** Who gives up has not had its turn: its project keeps its place. */
  private leave(waiter: Waiter): void {
    this.remove(waiter)
    if (waiter.signal.aborted) waiter.fail(waiter.signal.reason)
    else waiter.settle({ ...waiter.refusal, waitMs: this.waitMs })
    if (this.pause?.waiter === waiter) this.pause.end()
  }

  /** Whether it was still there. */
  private remove(waiter: Waiter): boolean {
    waiter.cancel()
    const waiters = this.projects.get(waiter.project)
    const place = waiters?.indexOf(waiter) ?? -1
    if (!waiters || place < 0) return false
    waiters.splice(place, 1)
    this.waiting--
    if (waiters.length === 0) this.projects.delete(waiter.project)
    return true
  }

  /** This one has had its turn: it goes to the end of the line. */
  private nextProject(project: string): void {
    const waiters = this.projects.get(project)
    if (!waiters) return
    this.projects.delete(project)
    this.projects.set(project, waiters)
  }
}
