/** Something that is asked for again and again, and what it costs to have it. */
export interface Wanted {
  readonly name: string
  readonly bytes: number
  /** To load it. */
  readonly cost: number
}

/**
 * Loads of one who knows the future: what goes is that whose next use is farthest for its size and the cost of loading
 * it again (Belady's rule, weighted as in Berger et al., "Practical Bounds on Optimal Caching with Variable Object
 * Sizes", SIGMETRICS 2018, where no rule is the optimum). Only loads on demand: a prefetcher may have fewer that
 * somebody waits for, at the price of more.
 * @param from place in the sequence from which loads count
 * @returns how many
 */
export function clairvoyantLoads(sequence: readonly Wanted[], capacityBytes: number, from: number): number {
  const next = nextUses(sequence)
  const kept = new Map<string, { readonly one: Wanted; nextPlace: number }>()
  let freeBytes = capacityBytes
  let loads = 0
  for (const [place, one] of sequence.entries()) {
    const nextPlace = next[place] ?? Number.POSITIVE_INFINITY
    const present = kept.get(one.name)
    if (present) {
      present.nextPlace = nextPlace
      continue
    }
    if (place >= from) loads += 1
    if (one.bytes > capacityBytes) continue
    while (freeBytes < one.bytes) {
      const victim = worst([...kept.values()], place)
      if (!victim) break
      kept.delete(victim.name)
      freeBytes += victim.bytes
    }
    kept.set(one.name, { one, nextPlace })
    freeBytes -= one.bytes
  }
  return loads
}

function nextUses(sequence: readonly Wanted[]): number[] {
  const next = new Array<number>(sequence.length).fill(Number.POSITIVE_INFINITY)
  const seen = new Map<string, number>()
  for (let place = sequence.length - 1; place >= 0; place -= 1) {
    const name = sequence[place]?.name ?? ''
    next[place] = seen.get(name) ?? Number.POSITIVE_INFINITY
    seen.set(name, place)
  }
  return next
}

function worst(
  kept: readonly { readonly one: Wanted; readonly nextPlace: number }[],
  place: number,
): Wanted | undefined {
  let found: Wanted | undefined
  let most = -1
  for (const { one, nextPlace } of kept) {
    const burden = ((nextPlace - place) * one.bytes) / one.cost
    if (burden > most) [most, found] = [burden, one]
  }
  return found
}
