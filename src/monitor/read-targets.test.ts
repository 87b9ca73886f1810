import { expect, test } from 'vitest'
import { readTargets } from './read-targets.ts'

test('processes are read whatever the interval, also where its share is no whole millisecond', async () => {
  const target = { instance: 'here', role: 'all', read: async () => [] }
  const [reading] = await readTargets([target], 0.8 * 3_000)
  expect(reading).toEqual({ instance: 'here', role: 'all', samples: [] })
})
