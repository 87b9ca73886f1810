/** Work that was done lately: what was done one half-life ago counts half. */
export class RecentWork {
  private amount = 0
  private sinceMs = 0

  constructor(private readonly halfLifeMs: number) {}

  add(amount: number, nowMs: number): void {
    this.amount = this.at(nowMs) + amount
    this.sinceMs = nowMs
  }

  at(nowMs: number): number {
    return this.amount * 2 ** ((this.sinceMs - nowMs) / this.halfLifeMs)
  }
}
