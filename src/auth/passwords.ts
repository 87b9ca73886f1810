import { hash, verify } from '@node-rs/argon2'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'

/** OWASP's first choice for argon2id: 19 MiB, two passes. The library does it off the main thread. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const

/** As argon2 writes them into its hashes. */
const PARAMETERS_TEXT = '$m=19456,t=2,p=1$'

export function hashPassword(password: string): Promise<string> {
  return hash(password, PARAMETERS)
}

/** Whether a stored hash was made with other parameters than today's. */
export function isOutdated(passwordHash: string): boolean {
  return !passwordHash.includes(PARAMETERS_TEXT)
}

/** Of a password that nobody has: whoever does not exist takes as long to refuse as whoever does. */
let nobodysHash: Promise<string> | undefined

/** Whether the password is the one of that hash; never, and in the same time, where there is no hash. */
export async function passwordMatches(password: string, passwordHash: string | undefined): Promise<boolean> {
  nobodysHash ??= hashPassword('a password that is of no use to anybody')
  const matches = await verify(passwordHash ?? (await nobodysHash), password)
  return matches && passwordHash !== undefined
}

/** Failures in a row before waiting begins, and how long one waits at most. */
const FREE_FAILURES = 5
const WAIT_MAX_MS = 15 * 60_000
const REMEMBERED_MAX = 100_000

/** How many hashes are computed at the same time: each takes 19 MiB and a core for 10 to 20 ms. */
const ATTEMPTS_AT_ONCE_MAX = 8

/**
 * Slows down guessing: after five failures for one name each further one doubles the wait, beginning with a second.
 * It counts by what was typed, so it tells nothing about who exists.
 */
export class LoginThrottle {
  private readonly failures: LRUCache<string, { count: number; untilMs: number }>
  private running = 0

  constructor(private readonly clock: Clock) {
    this.failures = new LRUCache({ max: REMEMBERED_MAX })
  }

  /**
   * Does the attempt, or refuses it unseen.
   * @param attempt resolves with whether it succeeded
   * @throws HelixError `too_many_attempts`, `server_overloaded`
   */
  async attempt(name: string, attempt: () => Promise<boolean>): Promise<boolean> {
    const key = name.toLowerCase()
    const waitMs = (this.failures.get(key)?.untilMs ?? 0) - this.clock.monotonic()
    if (waitMs > 0) {
      throw new HelixError('too_many_attempts', 'Too many failed logins. Wait a while, then try again.', {
        retryAfterMs: waitMs,
      })
    }
    if (this.running >= ATTEMPTS_AT_ONCE_MAX) {
      throw new HelixError('server_overloaded', 'Too many logins at the same time. Try again.', {
        retryAfterMs: 250,
      })
    }
    this.running += 1
    // Before it is known: of several at the same time none is free for being early.
    this.count(key)
    try {
      const succeeded = await attempt()
      if (succeeded) this.failures.delete(key)
      return succeeded
    } finally {
      this.running -= 1
    }
  }

  private count(key: string): void {
    const count = (this.failures.get(key)?.count ?? 0) + 1
    const waitMs = count < FREE_FAILURES ? 0 : Math.min(WAIT_MAX_MS, 1_000 * 2 ** (count - FREE_FAILURES))
    this.failures.set(key, { count, untilMs: this.clock.monotonic() + waitMs })
  }
}
