/**
 * How many series a process may have in all, counted as Prometheus does: a histogram is one for each bucket and two more.
 * Labels come from outside now and then, and each series costs the memory of everybody who keeps it.
 */
export class SeriesRoom {
  taken = 0

  constructor(private readonly most: number) {}

  /** Whether there is room for them; then they are taken. */
  take(count: number): boolean {
    if (this.taken + count > this.most) return false
    this.taken += count
    return true
  }

  giveBack(count: number): void {
    this.taken -= count
  }
}
