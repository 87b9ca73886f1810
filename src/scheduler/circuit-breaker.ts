export interface CircuitBreakerOptions {
  /** Outcomes older than this do not count. */
  readonly windowMs: number
  /** It opens on at least so many failures, when they are this share of all outcomes. */
  readonly failuresMin: number
  readonly failureShare: number
  /** How long it stays open; doubles with each probe that fails, up to the maximum. */
  readonly pauseMs: number
  readonly pauseMaxMs: number
}

export const CIRCUIT_BREAKER: CircuitBreakerOptions = {
  windowMs: 10_000,
  failuresMin: 3,
  failureShare: 0.5,
  pauseMs: 1_000,
  pauseMaxMs: 30_000,
}

export type CircuitState = 'closed' | 'open' | 'half-open'

/** The window is counted in this many parts, so that outcomes leave it little by little. */
const PARTS = 10

/**
 * Keeps requests from a server that fails: closed while it works, open for a pause when too much failed, then half-open
 * for one request that finds out (Nygard, "Release It!"). Deterministic: time is an argument.
 */
export class CircuitBreaker {
  private readonly parts: { part: number; failures: number; total: number }[] = []
  private openUntilMs: number | undefined
  private pauseMs: number
  private probing = false

  constructor(private readonly options: CircuitBreakerOptions = CIRCUIT_BREAKER) {
    this.pauseMs = options.pauseMs
  }

  state(nowMs: number): CircuitState {
    if (this.openUntilMs === undefined) return 'closed'
    return nowMs < this.openUntilMs ? 'open' : 'half-open'
  }

  /** Whether a request may go there now. */
  admits(nowMs: number): boolean {
    const state = this.state(nowMs)
    return state === 'closed' || (state === 'half-open' && !this.probing)
  }

  /** A request goes there. One that finds it half-open is the probe; the others wait for its outcome. */
  began(nowMs: number): void {
    if (this.state(nowMs) === 'half-open') this.probing = true
  }

  succeeded(nowMs: number): void {
    if (this.state(nowMs) === 'half-open') this.close()
    this.count(nowMs, 0)
  }

  /** @param pauseMs how long the server itself asked to be left alone; undefined where it did not */
  failed(nowMs: number, pauseMs?: number): void {
    const state = this.state(nowMs)
    this.count(nowMs, 1)
    if (pauseMs !== undefined) {
      this.open(nowMs, Math.min(pauseMs, this.options.pauseMaxMs))
    } else if (state === 'half-open') {
      this.pauseMs = Math.min(2 * this.pauseMs, this.options.pauseMaxMs)
      this.open(nowMs, this.pauseMs)
    } else if (state === 'closed' && this.failsTooMuch(nowMs)) {
      this.open(nowMs, this.pauseMs)
    }
  }

  /** The request ended in a way that says nothing of the server: its client left. */
  abandoned(): void {
    this.probing = false
  }

  private open(nowMs: number, pauseMs: number): void {
    this.openUntilMs = nowMs + pauseMs
    this.probing = false
  }

  private close(): void {
    this.openUntilMs = undefined
    this.probing = false
    this.pauseMs = this.options.pauseMs
    this.parts.length = 0
  }

  private failsTooMuch(nowMs: number): boolean {
    const { failuresMin, failureShare } = this.options
    const oldest = this.partOf(nowMs) - PARTS
    let failures = 0
    let total = 0
    for (const one of this.parts) {
      if (one.part <= oldest) continue
      failures += one.failures
      total += one.total
    }
    return failures >= failuresMin && failures >= failureShare * total
  }

  private count(nowMs: number, failures: number): void {
    const part = this.partOf(nowMs)
    const last = this.parts.at(-1)
    if (last?.part === part) {
      last.failures += failures
      last.total++
      return
    }
    this.parts.push({ part, failures, total: 1 })
    if (this.parts.length > PARTS) this.parts.shift()
  }

  private partOf(nowMs: number): number {
    return Math.floor((nowMs * PARTS) / this.options.windowMs)
  }
}
