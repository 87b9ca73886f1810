import type { Time } from '../../src/client/time.ts'
import type { Random } from '../../src/core/random.ts'

/** The machine's time, so many times as fast: for what a client does in seconds. */
export function fastTime(factor: number): Time {
  return {
    now: () => performance.now() * factor,
    schedule: (delayMs, task) => {
      const timer = setTimeout(task, delayMs / factor)
      return () => clearTimeout(timer)
    },
  }
}

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random.uniform() * from.length)] as T
}

/** A text in pieces, of letters that are one to four bytes long. */
export function randomPieces(random: Random, count: number): string[] {
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + Math.floor(random.uniform() * 12) }, () => pick(random, LETTERS)).join(''),
  )
}

const LETTERS = ['a', 'b', ' ', '\n', '"', '\\', 'ä', 'ß', '中', '文', '\u2028', '😀', '👩‍🚀', '\u0000']
