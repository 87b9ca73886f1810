import { describe, expect, test } from 'vitest'
import { parseSampleLine } from './text-format.ts'

describe('a line of metrics', () => {
  test.each([
    ['up 1', { name: 'up', labels: {}, value: 1 }],
    ['up{} 1', { name: 'up', labels: {}, value: 1 }],
    [
      'a_total{model="m",status="200"} 12.5',
      { name: 'a_total', labels: { model: 'm', status: '200' }, value: 12.5 },
    ],
    ['a{x="1",} 1e-05', { name: 'a', labels: { x: '1' }, value: 1e-5 }],
    ['a{ x = "1" , y="2" } 3', { name: 'a', labels: { x: '1', y: '2' }, value: 3 }],
    ['a_bucket{le="+Inf"} 4 1700000000000', { name: 'a_bucket', labels: { le: '+Inf' }, value: 4 }],
    [
      'a_bucket{le="0.5"} 4 # {trace_id="abc"} 0.31 1700000000.0',
      { name: 'a_bucket', labels: { le: '0.5' }, value: 4 },
    ],
    [String.raw`a{x="q\"b\\n\nz}"} 1`, { name: 'a', labels: { x: 'q"b\\n\nz}' }, value: 1 }],
    ['a +Inf', { name: 'a', labels: {}, value: Number.POSITIVE_INFINITY }],
    ['a NaN', { name: 'a', labels: {}, value: Number.NaN }],
  ])('%s is read as it stands', (line, sample) => {
    expect(parseSampleLine(line)).toEqual(sample)
  })

  test.each([
    '',
    '# HELP up whether',
    '# EOF',
    'a',
    'a{x="1" 3',
    'a{x=1} 3',
    'a{x="1} 3',
    'a three',
    'a 0x10',
    '1a 3',
  ])("'%s' is no sample", (line) => {
    expect(parseSampleLine(line)).toBeUndefined()
  })
})
