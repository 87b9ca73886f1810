import type { Sample } from '../../core/metrics/sample.ts'
import type { SampleNeeds } from './sample-needs.ts'
import { SampleRing, type Window } from './sample-ring.ts'

/** One series as it was read. */
export interface SampleSeries {
  readonly labels: Readonly<Record<string, string>>
  /** What it says at that moment, if it still says anything. */
  latest(atMs: number): number | undefined
  window(fromMs: number, toMs: number): Window
}

/** Where questions are answered from. */
export interface SampleSource {
  /** All series of that name, as samples have it: a part of a histogram is one. */
  series(name: string): Iterable<SampleSeries>
}

/** The process that samples were read from: what every series carries beside its own labels, which win. */
export interface SampleTarget {
  readonly instance: string
  readonly role: string
}

/** What the monitor has read of all processes, as long as somebody may ask for it. */
export class SampleStore implements SampleSource {
  private readonly byName = new Map<string, Set<SampleRing>>()
  private readonly byTarget = new Map<string, Map<string, SampleRing>>()
  private usedBytes = 0

  /** @param limitBytes of readings in all; series beyond it are not kept, and `take` says so; known ones then lose their oldest */
  constructor(
    private readonly needs: SampleNeeds,
    private readonly limitBytes = 128 * 1024 * 1024,
  ) {}

  get bytes(): number {
    return this.usedBytes
  }

  /**
   * Takes one whole reading of a process: series that are not in it have ended.
   * @returns how many samples were of new series for which there is no room
   */
  take(target: SampleTarget, samples: Iterable<Sample>, atMs: number): number {
    const known = this.targetOf(target)
    let refused = 0
    for (const sample of samples) {
      const need = this.needs.of(sample)
      if (!need) continue
      const key = keyOf(sample)
      let ring = known.get(key)
      if (!ring) {
        if (this.usedBytes >= this.limitBytes) {
          refused++
          continue
        }
        ring = new SampleRing({ ...target, ...sample.labels }, need)
        known.set(key, ring)
        this.usedBytes += ring.bytes
        this.seriesOf(sample.name).add(ring)
      }
      this.append(ring, atMs, sample.value)
    }
    this.endOthers(known, atMs)
    return refused
  }

  /** That process could not be read. */
  lose(target: SampleTarget, atMs: number): void {
    this.endOthers(this.targetOf(target), atMs)
  }

  series(name: string): Iterable<SampleSeries> {
    return this.byName.get(name) ?? []
  }

  /** Forgets series that ended before then: as long ago as somebody may ask. Once in a few minutes is enough. */
  forget(beforeMs: number): void {
    for (const [target, known] of this.byTarget) {
      for (const [key, ring] of known) {
        if (ring.newestMs >= beforeMs) continue
        known.delete(key)
        this.usedBytes -= ring.bytes
        for (const all of this.byName.values()) all.delete(ring)
      }
      if (known.size === 0) this.byTarget.delete(target)
    }
  }

  private append(ring: SampleRing, atMs: number, value: number): void {
    const { bytes } = ring
    ring.append(atMs, value, this.usedBytes < this.limitBytes)
    this.usedBytes += ring.bytes - bytes
  }

  private endOthers(known: ReadonlyMap<string, SampleRing>, atMs: number): void {
    for (const ring of known.values()) {
      if (ring.newestMs >= atMs) continue
      const { bytes } = ring
      ring.end(atMs, this.usedBytes < this.limitBytes)
      this.usedBytes += ring.bytes - bytes
    }
  }

  private targetOf({ instance, role }: SampleTarget): Map<string, SampleRing> {
    const key = `${instance}\n${role}`
    let known = this.byTarget.get(key)
    if (!known) {
      known = new Map()
      this.byTarget.set(key, known)
    }
    return known
  }

  private seriesOf(name: string): Set<SampleRing> {
    let all = this.byName.get(name)
    if (!all) {
      all = new Set()
      this.byName.set(name, all)
    }
    return all
  }
}

/** A process gives the labels of a series in the same order each time. */
function keyOf({ name, labels }: Sample): string {
  let key = name
  for (const label in labels) key += `\n${label}\t${labels[label]}`
  return key
}
