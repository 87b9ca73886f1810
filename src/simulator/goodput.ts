/** The share of requests in time that a system must keep to be called good at a speed. */
export const GOODPUT_ATTAINMENT = 0.99

export interface GoodputSearch {
  readonly lowest: number
  readonly highest: number
  /** Halvings of the range, which is searched by ratio: 8 find the speed within 2.2 % of a range of 1 to 256. */
  readonly halvings: number
}

/**
 * The highest speed-up at which attainment holds, by bisection, which takes for granted that slower is never worse. It
 * is so but for a per cent or so of noise. 0: not even at the lowest.
 * @param attainmentAt replays at that speed
 */
export function goodput(attainmentAt: (speed: number) => number, search: GoodputSearch): number {
  const isGood = (speed: number) => attainmentAt(speed) >= GOODPUT_ATTAINMENT
  if (!isGood(search.lowest)) return 0
  if (isGood(search.highest)) return search.highest
  let [good, bad] = [search.lowest, search.highest]
  for (let round = 0; round < search.halvings; round += 1) {
    const middle = Math.sqrt(good * bad)
    if (isGood(middle)) good = middle
    else bad = middle
  }
  return good
}
