import { expect, test } from 'vitest'
import { jsonDepth } from './json-depth.ts'

test.each([
  ['1', 0],
  ['{}', 1],
  ['[{"a":[1]}]', 3],
  ['[[],[[]]]', 3],
  ['["[[[["]', 1],
  ['["\\"[[[["]', 1],
  ['["\\\\",[]]', 2],
  ['{"a":"}","b":{}}', 2],
  ['[[[', 3],
  [']]]', 0],
])('%s is %i deep', (text, depth) => {
  expect(jsonDepth(text)).toBe(depth)
})
