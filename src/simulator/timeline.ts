import type { Clock } from '../core/clock.ts'

/**
 * Time of a replay: it jumps to the next thing that happens. A clock like any other to whoever is given it. What falls
 * due at the same instant happens in the order in which it was scheduled, so that a replay is always the same.
 */
export class Timeline implements Clock {
  private readonly heap: Entry[] = []
  private nowMs = 0
  private sequence = 0

  /** @param calendarStartMs what `now()` says at the beginning */
  constructor(private readonly calendarStartMs: number) {}

  now(): number {
    return this.calendarStartMs + this.nowMs
  }

  monotonic(): number {
    return this.nowMs
  }

  schedule(delayMs: number, task: () => void): () => void {
    const entry: Entry = { dueMs: this.nowMs + Math.max(0, delayMs), order: this.sequence, task }
    this.sequence += 1
    this.push(entry)
    return () => {
      entry.task = undefined
    }
  }

  /** Runs what is due next; false when nothing is left. */
  step(): boolean {
    for (;;) {
      const next = this.pop()
      if (!next) return false
      // What was cancelled stays in the heap until its time: to look for it costs more than to pass it over.
      if (!next.task) continue
      this.nowMs = next.dueMs
      next.task()
      return true
    }
  }

  private push(entry: Entry): void {
    const { heap } = this
    let place = heap.length
    while (place > 0) {
      const parentPlace = (place - 1) >> 1
      const parent = heap[parentPlace]
      if (!parent || !isBefore(entry, parent)) break
      heap[place] = parent
      place = parentPlace
    }
    heap[place] = entry
  }

  private pop(): Entry | undefined {
    const { heap } = this
    const first = heap[0]
    const last = heap.pop()
    if (!first || !last || first === last) return first
    let place = 0
    for (;;) {
      const left = 2 * place + 1
      const [a, b] = [heap[left], heap[left + 1]]
      if (!a) break
      const smaller = b && isBefore(b, a) ? b : a
      if (!isBefore(smaller, last)) break
      heap[place] = smaller
      place = smaller === a ? left : left + 1
    }
    heap[place] = last
    return first
  }
}

interface Entry {
  readonly dueMs: number
  readonly order: number
  /** Undefined once cancelled. */
  task: (() => void) | undefined
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order)
}
