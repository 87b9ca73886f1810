import { expect, test } from 'vitest'
import { SharedFrames, textFrame } from './frames.ts'

test.each([
  [0, '8100'],
  [125, '817d'],
  [126, '817e007e'],
  [65_535, '817effff'],
  [65_536, '817f0000000000010000'],
])('a text of %i bytes has the head of RFC 6455', (length, head) => {
  const frame = textFrame('x'.repeat(length))
  expect(frame.toString('hex', 0, head.length / 2)).toBe(head)
  expect(frame.toString('utf8', head.length / 2)).toBe('x'.repeat(length))
})

test('a length is one of bytes, not of characters', () => {
  expect(textFrame('é🙂').toString('hex')).toBe('8106c3a9f09f9982')
})

test('a frame is built once for all who send the same event in a turn', () => {
  const frames = new SharedFrames()
  const event = {}
  let built = 0
  const text = () => `${++built}`
  expect(frames.of(event, text)).toBe(frames.of(event, text))
  expect(built).toBe(1)
  frames.clear()
  frames.of(event, text)
  frames.of({}, text)
  expect(built).toBe(3)
})
