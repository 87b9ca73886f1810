/** Keeps what is sent under the server's limit, which ends a connection for good that exceeds it thrice. */
export class Pacer {
  private tokens: number

  constructor(
    private readonly perSecond: number,
    private readonly burst: number,
    private atMs: number,
  ) {
    this.tokens = burst
  }

  take(nowMs: number): boolean {
    this.tokens = Math.min(this.burst, this.tokens + ((nowMs - this.atMs) * this.perSecond) / 1_000)
    this.atMs = nowMs
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }

  /** After that long the next one may go. */
  get waitMs(): number {
    return Math.max(1, Math.ceil(((1 - this.tokens) * 1_000) / this.perSecond))
  }
}
