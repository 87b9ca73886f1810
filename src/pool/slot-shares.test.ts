import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { confirmed, divideSlots, redivide, type SlotShare } from './slot-shares.ts'

describe('slots of one replica at several gateways', () => {
  test.each([
    [8, [0, 0], [4, 4]],
    [8, [0, 20], [1, 7]],
    [8, [20, 20], [4, 4]],
    [8, [5, 1, 2], [5, 1, 2]],
    [3, [0, 0, 9], [1, 1, 1]],
    [2, [0, 0, 9], [1, 0, 1]],
    [1, [0, 3], [0, 1]],
    [0, [3], [0]],
    [4, [], []],
  ])('%i for demands of %j are divided as %j', (slots, demands, parts) => {
    expect(divideSlots(slots, demands)).toEqual(parts)
  })

  test('what is taken from one is given to another only once the first uses no more of it', () => {
    const busy = { told: 4, held: 4, demand: 4 }
    const alone = [busy, { told: 0, held: 0, demand: 4 }]
    const asked = redivide(4, alone)
    expect(asked).toEqual([
      { told: 2, held: 4, demand: 4 },
      { told: 0, held: 0, demand: 4 },
    ])
    const draining = redivide(4, [confirmed(asked[0] ?? busy, 3), asked[1] ?? busy])
    expect(draining.map(({ told }) => told)).toEqual([2, 1])
    const drained = redivide(4, [confirmed(draining[0] ?? busy, 2), draining[1] ?? busy])
    expect(drained.map(({ told }) => told)).toEqual([2, 2])
  })

  test('requests that come and go move nothing while nobody lacks any', () => {
    const shares = [
      { told: 4, held: 4, demand: 3 },
      { told: 4, held: 4, demand: 1 },
    ]
    expect(redivide(8, shares)).toBe(shares)
  })

  test.each(Array.from({ length: 200 }, (_, seed) => seed))(
    'are never used twice, however late messages are, and end with a share for each (seed %i)',
    (seed) => {
      const fleet = new Fleet(seed)
      for (let step = 0; step < 400; step++) {
        fleet.step()
        expect(fleet.inUse).toBeLessThanOrEqual(fleet.slots)
      }
      fleet.settle()
      expect(fleet.inUse).toBeLessThanOrEqual(fleet.slots)
      expect(fleet.given).toBe(fleet.slots)
      const least = fleet.slots >= fleet.size ? 1 : 0
      expect(fleet.fewest).toBeGreaterThanOrEqual(least)
      expect(fleet.unmet).toBe(false)
    },
  )
})

interface Gateway {
  slots: number
  inUse: number
  wanted: number
  version: number
  /** Tables on their way to it, and reports on their way from it. */
  readonly tables: { slots: number; version: number }[]
  readonly reports: { inUse: number; demand: number; version: number }[]
}

/** A pool and its gateways, with messages that keep their order and take any time. */
class Fleet {
  readonly slots: number
  readonly size: number
  private readonly random
  private readonly gateways: Gateway[]
  private shares: readonly SlotShare[]
  private readonly versions: number[]

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.slots = this.pick(12) + 1
    this.size = this.pick(4) + 1
    this.gateways = Array.from({ length: this.size }, () => ({
      ...{ slots: 0, inUse: 0, wanted: 0, version: 0, tables: [], reports: [] },
    }))
    this.shares = this.gateways.map(() => ({ told: 0, held: 0, demand: 0 }))
    this.versions = this.gateways.map(() => 0)
    this.divide()
  }

  get inUse(): number {
    return this.gateways.reduce((sum, { inUse }) => sum + inUse, 0)
  }

  get given(): number {
    return this.gateways.reduce((sum, { slots }) => sum + slots, 0)
  }

  get fewest(): number {
    return Math.min(...this.gateways.map(({ slots }) => slots))
  }

  /** Whether one lacks slots that another one has no use for. */
  get unmet(): boolean {
    const lacks = this.gateways.some(({ wanted, slots }) => wanted > slots && slots < this.slots)
    const spares = this.gateways.some(({ wanted, slots }) => slots > Math.max(1, wanted))
    return lacks && spares
  }

  step(): void {
    const at = this.pick(this.size)
    const gateway = this.gateways[at]
    if (!gateway) return
    const turn = this.pick(5)
    if (turn === 0) gateway.wanted = this.pick(2 * this.slots)
    if (turn === 1) this.use(gateway)
    if (turn === 2) this.read(gateway)
    if (turn >= 3) this.hear(at)
  }

  settle(): void {
    for (let round = 0; round < 20; round++) {
      for (const [at, gateway] of this.gateways.entries()) {
        while (gateway.tables.length > 0) this.read(gateway)
        gateway.inUse = Math.min(gateway.slots, gateway.wanted)
        this.report(gateway)
        while (gateway.reports.length > 0) this.hear(at)
      }
    }
  }

  /** Requests end, and begin while its share allows. */
  private use(gateway: Gateway): void {
    if (gateway.inUse > 0 && this.pick(2) === 0) gateway.inUse -= 1
    else if (gateway.inUse < gateway.slots && gateway.inUse < gateway.wanted) gateway.inUse += 1
    this.report(gateway)
  }

  private read(gateway: Gateway): void {
    const table = gateway.tables.shift()
    if (!table) return
    Object.assign(gateway, table)
    this.report(gateway)
  }

  private report({ inUse, wanted, version, reports }: Gateway): void {
    reports.push({ inUse, demand: wanted, version })
  }

  private hear(at: number): void {
    const report = this.gateways[at]?.reports.shift()
    if (!report) return
    this.shares = this.shares.map((share, index) => {
      if (index !== at) return share
      const { inUse, demand, version } = report
      const heard = { ...share, demand }
      return version >= (this.versions[at] ?? 0) ? confirmed(heard, inUse) : heard
    })
    this.divide()
  }

  private divide(): void {
    const before = this.shares
    this.shares = redivide(this.slots, before)
    for (const [at, share] of this.shares.entries()) {
      if (share.told === before[at]?.told) continue
      const version = (this.versions[at] ?? 0) + 1
      this.versions[at] = version
      this.gateways[at]?.tables.push({ slots: share.told, version })
    }
  }

  private pick(below: number): number {
    return Math.floor(this.random.uniform() * below)
  }
}
