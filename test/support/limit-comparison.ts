import type { Terms } from '../../src/limits/counter.ts'
import type { LimitStore, Verdict } from '../../src/limits/store.ts'
import { arrivals, type Expected, modelOf, termsOf, type WindowKind } from './limit-models.ts'

/** A store, and what sets the time that it decides at. */
export interface ComparedStore {
  at(nowMs: number): void
  readonly store: LimitStore
}

/** Calls on their way to Redis at the same time: one connection keeps their order. */
const IN_FLIGHT = 500

/** The same arrivals before the store and before the specification: how many of them were decided otherwise. */
export async function compareWithModel({ at, store }: ComparedStore, kind: WindowKind, count: number) {
  const terms = termsOf(kind, 7)
  const models = terms.map(modelOf)
  let differing = 0
  let granted = 0
  const judge = ({ refused, standings }: Verdict, expected: Expected | undefined) => {
    if (refused === undefined) granted++
    const same =
      (refused === undefined) === expected?.allowed && standings[0]?.remaining === expected.remaining
    if (!same) differing++
  }
  let requests = 0
  let waiting: Promise<void>[] = []
  for (const { nowMs, place, cost } of arrivals(terms, count, 11)) {
    at(nowMs)
    const expected = models[place]?.arrive(nowMs, cost)
    const charges = [{ ...(terms[place] as Terms), key: String(place), cost }]
    const requestId = `compared${++requests}`
    const verdict = store.reserve({ tenant: 'org_a', requestId, charges, held: false })
    if (!(verdict instanceof Promise)) {
      judge(verdict, expected)
      continue
    }
    waiting.push(verdict.then((one) => judge(one, expected)))
    if (waiting.length < IN_FLIGHT) continue
    await Promise.all(waiting)
    waiting = []
  }
  await Promise.all(waiting)
  return { differing, granted }
}
