import { beforeEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { KeptListing } from './kept-listing.ts'

let clock: ManualClock
let folder: { changedAtMs: number; readings: number; fails: boolean }
let listing: KeptListing<number>

beforeEach(() => {
  clock = new ManualClock()
  folder = { changedAtMs: clock.now() - 60_000, readings: 0, fails: false }
  listing = new KeptListing(
    {
      list: async () => {
        folder.readings++
        if (folder.fails) throw new RangeError('unreadable')
        return [folder.readings]
      },
      changedAtMs: async () => folder.changedAtMs,
    },
    clock,
  )
})

describe('what lies in a folder', () => {
  test('is read once for all who ask within a second', async () => {
    await Promise.all(Array.from({ length: 100 }, () => listing.items()))
    clock.advance(999)
    expect(await listing.items()).toEqual([1])
    clock.advance(1)
    expect(await listing.items()).toEqual([2])
  })

  test('is read anew as soon as the folder changes', async () => {
    await listing.items()
    folder.changedAtMs += 1_000
    expect(await listing.items()).toEqual([2])
  })

  test('is not kept when it changed so recently that another change would not show', async () => {
    folder.changedAtMs = clock.now() - 5
    await listing.items()
    expect(await listing.items()).toEqual([2])
  })

  test('is read anew after a change from here, and after a failure', async () => {
    await listing.items()
    listing.forget()
    expect(await listing.items()).toEqual([2])
    listing.forget()
    folder.fails = true
    await expect(listing.items()).rejects.toThrow('unreadable')
    folder.fails = false
    expect(await listing.items()).toEqual([4])
  })
})
