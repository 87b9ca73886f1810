import { describe, expect, test } from 'vitest'
import { type ChainRequest, walChain } from './wal-chain.ts'
import { segmentName } from './wal-names.ts'

const SEGMENT = 16 * 2 ** 20

function name(timeline: number, number: number): string {
  return segmentName({ timeline, number }, SEGMENT)
}

/** Segment `number` of a timeline was finished at `number * 100`. */
function files(timeline: number, from: number, to: number): ChainRequest['files'] {
  return Array.from({ length: to - from + 1 }, (_, index) => ({
    name: name(timeline, from + index),
    writtenAtMs: (from + index) * 100,
  }))
}

function lsn(number: number): bigint {
  return BigInt(number) * BigInt(SEGMENT) + 0x28n
}

/** A backup of segments 2 to 3 on timeline 1; segments up to 10 were archived. */
const base: ChainRequest = {
  files: files(1, 1, 10),
  timelines: [],
  segmentBytes: SEGMENT,
  start: { timeline: 1, number: 2 },
  carried: { timeline: 1, number: 3 },
}

/** Restored to the middle of segment 6 when 10 was done; written to up to 8 since. */
const restored: ChainRequest = {
  ...base,
  files: [
    ...base.files,
    ...files(2, 6, 8).map((file) => ({ ...file, writtenAtMs: file.writtenAtMs + 5_000 })),
  ],
  timelines: [{ timeline: 2, history: [{ timeline: 1, endLsn: lsn(6) }], bornAtMs: 2_000 }],
}

function names({ segments }: ReturnType<typeof walChain>): string[] {
  return segments.map((segment) => segment.name)
}

describe('on one timeline', () => {
  test('the chain begins after what the backup carries and ends with the newest file', () => {
    const chain = walChain(base)
    expect(names(chain)).toEqual(files(1, 4, 10).map((file) => file.name))
    expect(chain).toMatchObject({ timeline: 1, missing: undefined, endMs: 1_000 })
  })

  test('only what is needed for the moment is needed', () => {
    const chain = walChain({
      ...base,
      files: base.files.filter((file) => file.name !== name(1, 8)),
      atMs: 550,
    })
    expect(names(chain)).toEqual([name(1, 4), name(1, 5), name(1, 6)])
    expect(chain.missing).toBeUndefined()
  })

  test('a gap is named, and ends the chain before it', () => {
    const chain = walChain({ ...base, files: base.files.filter((file) => file.name !== name(1, 6)) })
    expect(chain).toMatchObject({ missing: name(1, 6), endMs: 500 })
    expect(names(chain)).toEqual([name(1, 4), name(1, 5)])
  })

  test('what the backup carries may have gone, and nothing after it is no gap', () => {
    expect(walChain({ ...base, files: [] })).toEqual({
      timeline: 1,
      segments: [],
      missing: undefined,
      endMs: undefined,
    })
  })

  test('a file that was archived and is not there is missing at the end too', () => {
    expect(walChain({ ...base, owed: [{ timeline: 1, number: 11 }] }).missing).toBe(name(1, 11))
  })
})

describe('after a restore', () => {
  test('the newest state is on the new timeline, from the segment in which the old one was left', () => {
    const chain = walChain(restored)
    expect(names(chain)).toEqual([name(1, 4), name(1, 5), name(2, 6), name(2, 7), name(2, 8)])
    expect(chain).toMatchObject({ timeline: 2, endMs: 5_800 })
  })

  test('a moment before the restore is on the old timeline, though the new one has gone on', () => {
    const chain = walChain({ ...restored, atMs: 900 })
    expect(names(chain)).toEqual(files(1, 4, 9).map((file) => file.name))
    expect(chain.timeline).toBe(1)
  })

  test('a backup that was not whole yet where the old timeline was left does not lead to the new one', () => {
    const later = { ...restored, start: { timeline: 1, number: 7 }, carried: { timeline: 1, number: 8 } }
    expect(walChain(later)).toMatchObject({ timeline: 1, endMs: 1_000 })
  })

  test('of what the new timeline shares with the old one nothing may be missing', () => {
    const chain = walChain({ ...restored, files: files(1, 1, 4) })
    expect(chain).toMatchObject({ timeline: 2, missing: name(1, 5) })
  })

  test('the segment that both share is needed of the new one, though the backup carries the old one', () => {
    const left = [{ timeline: 2, history: [{ timeline: 1, endLsn: lsn(3) }], bornAtMs: 2_000 }]
    const chain = walChain({ ...base, timelines: left, files: [...files(1, 1, 5), ...files(2, 3, 4)] })
    expect(names(chain)).toEqual([name(2, 3), name(2, 4)])
  })
})
