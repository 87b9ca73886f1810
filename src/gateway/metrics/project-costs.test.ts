import { expect, test } from 'vitest'
import type { Metrics } from '../../core/metrics.ts'
import { noMetrics } from '../../core/metrics.ts'
import { ProjectCosts } from './project-costs.ts'

const UNIT = 1e9

/** Remembers what it was told, by project. */
function counted() {
  const sums = new Map<string, number>()
  let collect = () => {}
  const metrics: Metrics = {
    ...noMetrics,
    add: (_name, labels, by = 1) => {
      const { project } = labels as { readonly project: string }
      sums.set(project, (sums.get(project) ?? 0) + by)
    },
    drop: (_name, labels) => {
      sums.delete((labels as { readonly project: string }).project)
    },
    beforeRead: (given) => {
      collect = given
      return () => {}
    },
  }
  return { sums, costs: new ProjectCosts(metrics), collect: () => collect() }
}

test('the first projects have names, and all others are one', () => {
  const { sums, costs } = counted()
  for (let at = 0; at < 60; at++) costs.add(`p${at}`, UNIT)
  expect(sums.size).toBe(51)
  expect(sums.get('p0')).toBe(1)
  expect(sums.get('other')).toBe(10)
})

test('a project that comes to cost more than a named one takes its place, and begins at 0', () => {
  const { sums, costs, collect } = counted()
  for (let at = 0; at < 50; at++) costs.add(`p${at}`, (at + 1) * UNIT)
  costs.add('late', 10 * UNIT)
  collect()
  expect([sums.has('p0'), sums.has('late'), sums.get('other')]).toEqual([false, false, 10])
  costs.add('late', 3 * UNIT)
  costs.add('p0', 2 * UNIT)
  expect([sums.get('late'), sums.get('other')]).toEqual([3, 12])
})

test('whoever costs nothing has no series, and thousands of projects are bounded in memory', () => {
  const { sums, costs } = counted()
  costs.add('free', 0)
  for (let at = 0; at < 30_000; at++) costs.add(`p${at}`, UNIT)
  expect(sums.size).toBe(51)
  expect([...sums.values()].reduce((sum, one) => sum + one, 0)).toBe(30_000)
})
