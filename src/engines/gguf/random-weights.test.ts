import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../core/random.ts'
import { constantWeights, randomWeights } from './random-weights.ts'

describe.each(['F16', 'Q8_0'] as const)('%s weights', (type) => {
  const unpack = type === 'F16' ? unpackF16 : unpackQ8

  it.each([0.25, 1, 0.001, 1e-4])('spread evenly between plus and minus %d', (amplitude) => {
    const random = seededRandom(3)
    const weights = unpack(Buffer.concat([...randomWeights({ type, elements: 64_000, amplitude, random })]))
    expect(weights).toHaveLength(64_000)
    const scaled = weights.map((weight) => weight / amplitude)
    expect(Math.max(...scaled)).toBeGreaterThan(0.9)
    // The scale of Q8_0 is rounded to few digits where it is tiny.
    expect(Math.max(...scaled)).toBeLessThan(1.05)
    expect(Math.min(...scaled)).toBeLessThan(-0.9)
    expect(Math.abs(mean(scaled))).toBeLessThan(0.02)
  })

  it('come in chunks that stay below a MiB, however many there are', () => {
    const random = seededRandom(3)
    let bytes = 0
    for (const chunk of randomWeights({
      type,
      elements: 1_000_000 - (1_000_000 % 32),
      amplitude: 1,
      random,
    })) {
      expect(chunk.length).toBeLessThanOrEqual(2 ** 20)
      bytes += chunk.length
    }
    expect(bytes).toBe(type === 'F16' ? 2_000_000 : 1_062_500)
  })
})

it('constant weights are 32-bit floats', () => {
  const bytes = constantWeights(3, 1)
  expect([bytes.readFloatLE(0), bytes.readFloatLE(4), bytes.readFloatLE(8), bytes.length]).toEqual([
    1, 1, 1, 12,
  ])
})

function unpackF16(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / 2 }, (_, index) => half(bytes.readUInt16LE(index * 2)))
}

function unpackQ8(bytes: Buffer): number[] {
  return Array.from({ length: (bytes.length / 34) * 32 }, (_, index) => {
    const block = Math.floor(index / 32) * 34
    return half(bytes.readUInt16LE(block)) * bytes.readInt8(block + 2 + (index % 32))
  })
}

function half(bits: number): number {
  const exponent = (bits >> 10) & 0x1f
  const fraction = (bits & 0x3ff) / 1024
  const magnitude = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15)
  return bits >> 15 === 0 ? magnitude : -magnitude
}

function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length
}
