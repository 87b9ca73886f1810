/**
 * The policies that the cache's eviction is compared with. Each counts the hits of a trace in a cache of `capacity`
 * entries of one size, into which every missed key is put. Keys are numbers from 0 without gaps.
 */
export type CountHits = (trace: Uint32Array, capacity: number) => number

/** Least recently used goes first. */
export const countLruHits: CountHits = (trace, capacity) => {
  const cached = new Queue(trace)
  let hits = 0
  for (const key of trace) {
    if (cached.delete(key)) hits += 1
    else if (cached.size === capacity) cached.delete(cached.oldest)
    cached.push(key)
  }
  return hits
}

/** Zhang et al., "SIEVE is Simpler than LRU" (NSDI 2024): a FIFO in which a moving hand spares what was asked for. */
export const countSieveHits: CountHits = (trace, capacity) => {
  const cached = new Queue(trace)
  const visited = new Uint8Array(keysOf(trace))
  let hand: number | undefined
  let hits = 0
  for (const key of trace) {
    if (cached.has(key)) {
      visited[key] = 1
      hits += 1
      continue
    }
    if (cached.size === capacity) {
      let victim = hand ?? cached.oldest
      while (visited[victim]) {
        visited[victim] = 0
        victim = cached.newerThan(victim) ?? cached.oldest
      }
      hand = cached.newerThan(victim)
      cached.delete(victim)
    }
    cached.push(key)
    visited[key] = 0
  }
  return hits
}

/** Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023), with a tenth for the small queue. */
export const countS3FifoHits: CountHits = (trace, capacity) => {
  const smallMax = Math.max(1, Math.floor(capacity / 10))
  const ghostMax = Math.max(1, capacity - smallMax)
  const [small, main, ghosts] = [new Queue(trace), new Queue(trace), new Queue(trace)]
  const frequency = new Uint8Array(keysOf(trace))
  let hits = 0
  const evictFromMain = () => {
    for (;;) {
      const key = main.oldest
      main.delete(key)
      const left = frequency[key] ?? 0
      if (left === 0) return
      frequency[key] = left - 1
      main.push(key)
    }
  }
  const evictFromSmall = () => {
    const key = small.oldest
    small.delete(key)
    if ((frequency[key] ?? 0) > 1) {
      main.push(key)
      frequency[key] = 0
      return
    }
    if (ghosts.size === ghostMax) ghosts.delete(ghosts.oldest)
    ghosts.push(key)
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
    if (ghosts.delete(key)) main.push(key)
    else small.push(key)
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
  const [window, probation, safe] = [new Queue(trace), new Queue(trace), new Queue(trace)]
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
    safe.push(key)
    if (safe.size <= protectedMax) return
    const demoted = safe.oldest
    safe.delete(demoted)
    probation.push(demoted)
  }
  const leaveWindow = () => {
    const candidate = window.oldest
    window.delete(candidate)
    if (window.size + probation.size + safe.size === capacity) {
      const from = probation.size > 0 ? probation : safe
      const victim = from.oldest
      if ((frequency[candidate] ?? 0) <= (frequency[victim] ?? 0)) return
      from.delete(victim)
    }
    probation.push(candidate)
  }
  for (const key of trace) {
    count(key)
    if (window.delete(key)) {
      window.push(key)
      hits += 1
    } else if (probation.delete(key) || safe.delete(key)) {
      protect(key)
      hits += 1
    } else {
      window.push(key)
      if (window.size > windowMax) leaveWindow()
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

/** Keys from the oldest to the newest; a ring that closes at `end`. */
class Queue {
  size = 0
  private readonly end: number
  private readonly newer: Uint32Array
  private readonly older: Uint32Array
  private readonly holds: Uint8Array

  constructor(trace: Uint32Array) {
    this.end = keysOf(trace)
    this.newer = new Uint32Array(this.end + 1).fill(this.end)
    this.older = new Uint32Array(this.end + 1).fill(this.end)
    this.holds = new Uint8Array(this.end + 1)
  }

  get oldest(): number {
    return this.newer[this.end] ?? this.end
  }

  has(key: number): boolean {
    return this.holds[key] === 1
  }

  newerThan(key: number): number | undefined {
    const newer = this.newer[key]
    return newer === this.end ? undefined : newer
  }

  push(key: number): void {
    this.link(this.older[this.end] ?? this.end, key)
    this.link(key, this.end)
    this.holds[key] = 1
    this.size += 1
  }

  delete(key: number): boolean {
    if (!this.has(key)) return false
    this.link(this.older[key] ?? this.end, this.newer[key] ?? this.end)
    this.holds[key] = 0
    this.size -= 1
    return true
  }

  private link(older: number, newer: number): void {
    this.newer[older] = newer
    this.older[newer] = older
  }
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
