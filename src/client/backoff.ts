const FIRST_MS = 500
const LAST_MS = 8_000

/**
 * How long to wait before the next attempt: anything up to twice as much as before, so that many clients that lost the
 * same server do not come back together.
 */
export function backoffMs(failures: number, random: () => number): number {
  return random() * Math.min(LAST_MS, FIRST_MS * 2 ** failures)
}
