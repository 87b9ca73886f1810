import { expect, test } from 'vitest'
import { sparkline } from './sparkline.ts'

test('a line rises and falls with its values, from the least to the greatest', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█')
  expect(sparkline([10, 20, 10], 8)).toBe('▁█▁')
})

test('what never changes is flat, and nothing is nothing', () => {
  expect(sparkline([3, 3, 3], 8)).toBe('▁▁▁')
  expect(sparkline([], 8)).toBe('')
})

test('a long course fits, and no peak is lost', () => {
  const values = Array.from({ length: 1_000 }, (_, at) => (at === 777 ? 9 : 0))
  const line = sparkline(values, 40)
  expect([...line]).toHaveLength(40)
  expect(line).toContain('█')
})
