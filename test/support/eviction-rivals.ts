/**
 * The policies that the cache's eviction is compared with. Each counts the hits of a trace in a cache of `capacity`
 * entries of one size, into which every missed key is put. Keys are numbers from 0 without gaps.
 */
export type CountHits = (trace: Uint32Array, capacity: number) => number

/** Least recently used goes first. */
export const countLruHits: CountHits = (trace, capacity) => {
  const cached = new Map<number, true>()
  let hits = 0
  for (const key of trace) {
    if (cached.delete(key)) hits += 1
    else if (cached.size === capacity) cached.delete(oldest(cached))
    cached.set(key, true)
  }
  return hits
}

/** Zhang et al., "SIEVE is Simpler than LRU" (NSDI 2024): a FIFO in which a moving hand spares what was asked for. */
export const countSieveHits: CountHits = (trace, capacity) => {
  const { newer, push, unlink, end } = ring(keysOf(trace))
  const visited = new Uint8Array(end)
  const cached = new Uint8Array(end)
  let size = 0
  let hand = end
  let hits = 0
  for (const key of trace) {
    if (cached[key]) {
      visited[key] = 1
      hits += 1
      continue
    }
    if (size === capacity) {
      while (hand === end || visited[hand]) {
        visited[hand] = 0
        hand = newer(hand)
      }
      const victim = hand
      hand = newer(victim)
      unlink(victim)
      cached[victim] = 0
      size -= 1
    }
    push(key)
    cached[key] = 1
    visited[key] = 0
    size += 1
  }
  return hits
}

/** Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023), with a tenth for the small queue. */
export const countS3FifoHits: CountHits = (trace, capacity) => {
  const smallMax = Math.max(1, Math.floor(capacity / 10))
  const ghostMax = Math.max(1, capacity - smallMax)
  const small = new Map<number, true>()
  const main = new Map<number, true>()
  const ghosts = new Map<number, true>()
  const frequency = new Uint8Array(keysOf(trace))
  let hits = 0
  const evictFromMain = () => {
    for (;;) {
      const key = oldest(main)
      main.delete(key)
      const left = frequency[key] ?? 0
      if (left === 0) return
      frequency[key] = left - 1
      main.set(key, true)
    }
  }
  /** Returns whether it made room. */
  const evictFromSmall = (): boolean => {
    const key = oldest(small)
    small.delete(key)
    if ((frequency[key] ?? 0) > 1) {
      main.set(key, true)
      frequency[key] = 0
      return false
    }
    if (ghosts.size === ghostMax) ghosts.delete(oldest(ghosts))
    ghosts.set(key, true)
    return true
  }
  for (const key of trace) {
    if (small.has(key) || main.has(key)) {
      frequency[key] = Math.min(3, (frequency[key] ?? 0) + 1)
      hits += 1
      continue
    }
    while (small.size + main.size >= capacity) {
      if (small.size >= smallMax || main.size === 0) evictFromSmall()
      else evictFromMain()
    }
    frequency[key] = 0
    if (ghosts.delete(key)) main.set(key, true)
    else small.set(key, true)
  }
  return hits
}

/**
 * Einziger et al., "TinyLFU: A Highly Efficient Cache Admission Policy" (ACM Transactions on Storage 2017), with a window
 * of one percent that does not adapt; the frequencies are exact, which is the best that a sketch can be.
 */
export const countTinyLfuHits: CountHits = (trace, capacity) => {
  const windowMax = Math.max(1, Math.floor(capacity / 100))
  const protectedMax = Math.floor((capacity - windowMax) * 0.8)
  const window = new Map<number, true>()
  const probation = new Map<number, true>()
  const safe = new Map<number, true>()
  const frequency = new Uint8Array(keysOf(trace))
  let counted = 0
  let hits = 0
  const count = (key: number) => {
    frequency[key] = Math.min(15, (frequency[key] ?? 0) + 1)
    counted += 1
    if (counted < 10 * capacity) return
    counted >>>= 1
    for (let each = 0; each < frequency.length; each++) frequency[each] = (frequency[each] ?? 0) >>> 1
  }
  const protect = (key: number) => {
    safe.set(key, true)
    if (safe.size <= protectedMax) return
    const demoted = oldest(safe)
    safe.delete(demoted)
    probation.set(demoted, true)
  }
  for (const key of trace) {
    count(key)
    if (window.delete(key)) {
      window.set(key, true)
      hits += 1
    } else if (probation.delete(key) || safe.delete(key)) {
      protect(key)
      hits += 1
    } else {
      window.set(key, true)
      if (window.size <= windowMax) continue
      const candidate = oldest(window)
      window.delete(candidate)
      if (window.size + probation.size + safe.size < capacity) {
        probation.set(candidate, true)
        continue
      }
      const from = probation.size > 0 ? probation : safe
      const victim = oldest(from)
      if ((frequency[candidate] ?? 0) <= (frequency[victim] ?? 0)) continue
      from.delete(victim)
      probation.set(candidate, true)
    }
  }
  return hits
}

/** Belady's MIN: what is needed last goes first, if need be the newcomer itself. No policy for entries of one size does better. */
export const countMinHits: CountHits = (trace, capacity) => {
  const nextUse = nextUses(trace)
  const cachedUntil = new Int32Array(keysOf(trace)).fill(-1)
  const latest = new LatestFirst(trace.length)
  let size = 0
  let hits = 0
  for (const [at, key] of trace.entries()) {
    const next = nextUse[at] ?? trace.length
    if (cachedUntil[key] === at) {
      hits += 1
      size -= 1
    }
    cachedUntil[key] = -1
    if (next === trace.length) continue
    cachedUntil[key] = next
    latest.push(next)
    size += 1
    if (size <= capacity) continue
    cachedUntil[trace[latest.pop()] ?? 0] = -1
    size -= 1
  }
  return hits
}

/** A cache without an end misses each key once. */
export const countInfiniteHits: CountHits = (trace) => trace.length - keysOf(trace)

/** How many different keys a trace has. */
export function keysOf(trace: Uint32Array): number {
  let highest = -1
  for (const key of trace) if (key > highest) highest = key
  return highest + 1
}

function oldest(cached: ReadonlyMap<number, true>): number {
  for (const key of cached.keys()) return key
  throw new Error('nothing is cached')
}

/** A doubly linked list of keys; behind the newest comes `end`, and behind that the oldest. */
function ring(end: number) {
  const next = new Uint32Array(end + 1).fill(end)
  const previous = new Uint32Array(end + 1).fill(end)
  const newer = (key: number) => next[key] ?? end
  const link = (older: number, newer: number) => {
    previous[newer] = older
    next[older] = newer
  }
  const push = (key: number) => {
    link(previous[end] ?? end, key)
    link(key, end)
  }
  const unlink = (key: number) => link(previous[key] ?? end, newer(key))
  return { newer, push, unlink, end }
}

/** For every access, when its key is accessed again; the length of the trace if never. */
function nextUses(trace: Uint32Array): Uint32Array {
  const nextUse = new Uint32Array(trace.length)
  const upcoming = new Uint32Array(keysOf(trace)).fill(trace.length)
  for (let at = trace.length - 1; at >= 0; at--) {
    const key = trace[at] ?? 0
    nextUse[at] = upcoming[key] ?? trace.length
    upcoming[key] = at
  }
  return nextUse
}

/** A heap of positions whose first is the latest. */
class LatestFirst {
  private readonly heap: Uint32Array
  private size = 0

  constructor(sizeMax: number) {
    this.heap = new Uint32Array(sizeMax)
  }

  push(position: number): void {
    let at = this.size++
    while (at > 0) {
      const parent = (at - 1) >>> 1
      const above = this.at(parent)
      if (above >= position) break
      this.heap[at] = above
      at = parent
    }
    this.heap[at] = position
  }

  pop(): number {
    const first = this.at(0)
    const last = this.at(--this.size)
    let at = 0
    for (;;) {
      const left = 2 * at + 1
      if (left >= this.size) break
      const child = left + 1 < this.size && this.at(left + 1) > this.at(left) ? left + 1 : left
      if (this.at(child) <= last) break
      this.heap[at] = this.at(child)
      at = child
    }
    this.heap[at] = last
    return first
  }

  private at(index: number): number {
    return this.heap[index] ?? 0
  }
}
