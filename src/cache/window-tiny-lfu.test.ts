import { describe, expect, test } from 'vitest'
import { FrequencySketch } from './frequency-sketch.ts'
import { keyHash } from './key-hash.ts'
import { type Policy, WindowTinyLfu } from './window-tiny-lfu.ts'

/** An order with room for 100 entries of 10 bytes, whose entries have names. */
function orderOf(policy: Policy) {
  const sketch = new FrequencySketch()
  const slots = new Map<string, number>()
  const evicted = (slot: number) => {
    for (const [name, its] of slots) if (its === slot) slots.delete(name)
  }
  const order = new WindowTinyLfu({ bytesMax: 1_000, policy, sketch, evicted })
  const ask = (name: string, { bytes = 10, times = 1 } = {}) => {
    for (let time = 0; time < times; time++) {
      sketch.add(keyHash(name))
      const known = slots.get(name)
      if (known !== undefined) order.touch(known)
      else slots.set(name, order.insert(keyHash(name), bytes))
      order.makeRoom()
    }
  }
  const fill = (prefix: string, { count = 100, times = 1 } = {}) => {
    for (let each = 0; each < count; each++) ask(`${prefix} ${each}`, { times })
  }
  const held = (prefix: string) => [...slots.keys()].filter((name) => name.startsWith(prefix)).length
  return { order, ask, fill, held }
}

describe('by recency', () => {
  test('the least recently asked for goes first', () => {
    const { ask, fill, held } = orderOf('recency')
    fill('old')
    ask('old 0')
    ask('new 1')
    ask('new 2')
    expect([held('old 0'), held('old 1'), held('old 2'), held('new')]).toEqual([1, 10, 10, 2])
    expect(held('')).toBe(100)
  })
})

describe('by frequency', () => {
  test('those asked for again outlast any number that is asked for once', () => {
    const { fill, held } = orderOf('frequency')
    fill('again', { times: 3 })
    fill('once', { count: 2_000 })
    expect(held('again')).toBeGreaterThanOrEqual(90)
  })

  test('one large entry must be more popular than all whom it would displace', () => {
    const { ask, fill, held } = orderOf('frequency')
    fill('small', { times: 2 })
    ask('large', { bytes: 30, times: 4 })
    expect([held('large'), held('small')]).toEqual([0, 99])
    // There is room for ten bytes, so that two have to go, who were asked for four times between them.
    ask('large', { bytes: 30 })
    expect([held('large'), held('small')]).toEqual([1, 97])
  })

  test('one that passes for popular and is never asked for keeps nobody out', () => {
    const { ask, fill, held } = orderOf('frequency')
    ask('dead', { times: 15 })
    fill('old', { count: 99 })
    fill('new', { times: 2 })
    expect(held('new')).toBeGreaterThan(80)
  })
})

describe('a change of policy', () => {
  test('evicts nobody by itself, and later in the order of the new one', () => {
    const { order, ask, fill, held } = orderOf('recency')
    fill('old', { times: 3 })
    order.policy = 'frequency'
    for (let each = 0; each < 20; each++) ask(`old ${each}`)
    expect(held('old')).toBe(100)
    fill('once', { count: 1_000 })
    expect(held('old')).toBeGreaterThanOrEqual(90)
    order.policy = 'recency'
    fill('recent')
    expect(held('recent')).toBe(100)
  })
})
