import { describe, expect, test } from 'vitest'
import { NvidiaDevices } from './nvidia-devices.ts'
import type { NvidiaReading } from './nvml-device.ts'
import { type OwnEngine, OwnUse } from './own-use.ts'

const GIB = 2 ** 30
const OURS = 10
const THEIRS = 20

function reading(changes: Partial<NvidiaReading> = {}): NvidiaReading {
  return { id: 'GPU-a', name: 'Card', totalBytes: 80 * GIB, usedBytes: 0, processes: [], ...changes }
}

function devices(...engines: OwnEngine[]) {
  const nvidia = new NvidiaDevices()
  const own = new OwnUse(
    () => engines,
    (pid) => pid === OURS,
  )
  return (...readings: NvidiaReading[]) => nvidia.next(readings, own)
}

const ENGINE: OwnEngine = { pids: [OURS], shares: [{ deviceId: 'GPU-a', bytes: 30 * GIB }] }

describe('what is foreign on a card', () => {
  test('is what is used and not by our processes', () => {
    const see = devices(ENGINE)
    const processes = [
      { pid: OURS, bytes: 32 * GIB },
      { pid: THEIRS, bytes: 10 * GIB },
    ]
    expect(see(reading({ usedBytes: 43 * GIB, processes }))[0]?.foreignBytes).toBe(11 * GIB)
  })

  test.each([
    ['the driver has no list', undefined],
    ['the list shows only processes of another namespace', [{ pid: THEIRS, bytes: 32 * GIB }]],
    ['the list does not say how much', [{ pid: OURS }]],
  ])('is what is used beyond what our engines were given, where %s', (_why, processes) => {
    expect(devices(ENGINE)(reading({ usedBytes: 32 * GIB, processes }))[0]?.foreignBytes).toBe(2 * GIB)
  })

  test('includes what an engine was given and does not take, once the list is known to show ours', () => {
    const see = devices(ENGINE)
    see(reading({ usedBytes: GIB, processes: [{ pid: OURS, bytes: GIB }] }))
    const gone = reading({ usedBytes: 5 * GIB, processes: [{ pid: THEIRS, bytes: 5 * GIB }] })
    see(gone)
    expect(see(gone)[0]?.foreignBytes).toBe(5 * GIB)
  })

  test('grows with a process that stays, not with one that is seen once', () => {
    const see = devices()
    const [free, taken] = [reading(), reading({ usedBytes: 9 * GIB })]
    const seen = [free, taken, free, taken, taken].map((one) => see(one)[0]?.foreignBytes)
    expect(seen).toEqual([0, 0, 0, 0, 9 * GIB])
  })
})

describe('the health of a card', () => {
  test('is hot from where it slows itself down until it has cooled', () => {
    const see = devices()
    const health = (temperatureCelsius: number) =>
      see(reading({ temperatureCelsius, slowdownCelsius: 87 }))[0]?.health
    expect([86, 87, 80, 79, 86].map(health)).toEqual(['ok', 'hot', 'hot', 'ok', 'ok'])
  })

  test('is hot while the hardware slows it down, whatever its temperature, until that has stayed away', () => {
    const see = devices()
    expect(see(reading({ temperatureCelsius: 70, isSlowed: true }))[0]).toMatchObject({
      health: 'hot',
      reason: 'the card slows itself down; 70 degrees Celsius',
    })
    const after = Array.from({ length: 6 }, () => see(reading({ isSlowed: false }))[0]?.health)
    expect(after).toEqual(['hot', 'hot', 'hot', 'hot', 'ok', 'ok'])
  })

  test('is lost when the driver says so, lists it no longer, or does not answer; and ok when it is back', () => {
    const nvidia = new NvidiaDevices()
    const own = new OwnUse(
      () => [],
      () => false,
    )
    nvidia.next([reading({ usedBytes: GIB })], own)
    const lost = [
      nvidia.next([reading({ lostBecause: 'gone' })], own),
      nvidia.next([], own),
      nvidia.next(undefined, own),
    ].map(([card]) => [card?.health, card?.reason, card?.totalBytes])
    expect(lost).toEqual([
      ['lost', 'gone', 80 * GIB],
      ['lost', 'the driver no longer lists it', 80 * GIB],
      ['lost', 'the driver does not answer', 80 * GIB],
    ])
    expect(nvidia.next([reading()], own)[0]?.health).toBe('ok')
  })

  test('is told of nothing that never said how much memory it has', () => {
    expect(devices()(reading({ totalBytes: undefined }))).toEqual([])
  })
})
