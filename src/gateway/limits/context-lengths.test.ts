import { expect, test } from 'vitest'
import { ContextLengths } from './context-lengths.ts'

test('the longest of the engines that may get a request bounds it, and none where one does not say', () => {
  const lengths = new ContextLengths()
  lengths.replace([
    { model: 'a', contextLength: 8_192 },
    { model: 'a', contextLength: 2_048 },
    { model: 'b', contextLength: 2_048 },
    { model: 'b', contextLength: undefined },
  ])
  expect(['a', 'b', 'c'].map((model) => lengths.of(model))).toEqual([8_192, undefined, undefined])
})

test('a model whose engines have gone is remembered, one that came back shorter is believed', () => {
  const lengths = new ContextLengths()
  lengths.replace([{ model: 'a', contextLength: 8_192 }])
  lengths.replace([])
  expect(lengths.of('a')).toBe(8_192)
  lengths.replace([{ model: 'a', contextLength: 4_096 }])
  expect(lengths.of('a')).toBe(4_096)
})
