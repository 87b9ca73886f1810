import type { Random } from '../../core/random.ts'
import { packedBytes, type TensorType, tensorLayout } from './format.ts'

/** The types that random weights can be packed in. */
export type WeightType = Extract<TensorType, 'F16' | 'Q8_0'>

export interface RandomWeights {
  readonly type: WeightType
  readonly elements: number
  /** Weights are uniform in [-amplitude, amplitude]. */
  readonly amplitude: number
  readonly random: Random
}

const CHUNK_ELEMENTS = 256 * 1024
const F16_LEVELS = 4096

/** Packed weights, whole blocks, in chunks of up to half a MiB. */
export function* randomWeights({ type, elements, amplitude, random }: RandomWeights): Iterable<Buffer> {
  const fill = type === 'F16' ? fillF16(random, amplitude) : fillQ8(random, amplitude)
  const chunkBytes = packedBytes(type, CHUNK_ELEMENTS)
  let left = packedBytes(type, elements)
  while (left > 0) {
    const chunk = Buffer.alloc(Math.min(left, chunkBytes))
    fill(chunk)
    left -= chunk.length
    yield chunk
  }
}

/** Weights of one fixed value, F32, as norms begin. */
export function constantWeights(elements: number, value: number): Buffer {
  const bytes = Buffer.alloc(elements * 4)
  for (let index = 0; index < elements; index += 1) bytes.writeFloatLE(value, index * 4)
  return bytes
}

/** A table of evenly spaced levels, since converting each weight by itself would take most of the time. */
function fillF16(random: Random, amplitude: number): (chunk: Buffer) => void {
  const levels = Uint16Array.from({ length: F16_LEVELS }, (_, level) =>
    halfBits(amplitude * ((2 * level + 1) / F16_LEVELS - 1)),
  )
  return (chunk) => {
    for (let offset = 0; offset < chunk.length; offset += 2) {
      const bits = levels[Math.floor(random.uniform() * F16_LEVELS)] ?? 0
      chunk[offset] = bits & 0xff
      chunk[offset + 1] = bits >> 8
    }
  }
}

/** Each block is a half-precision scale and 32 signed bytes. */
function fillQ8(random: Random, amplitude: number): (chunk: Buffer) => void {
  const { blockBytes } = tensorLayout('Q8_0')
  const scale = halfBits(amplitude / 127)
  return (chunk) => {
    for (let offset = 0; offset < chunk.length; offset += blockBytes) {
      chunk.writeUInt16LE(scale, offset)
      for (let index = offset + 2; index < offset + blockBytes; index += 1) {
        chunk[index] = Math.floor(random.uniform() * 255) - 127
      }
    }
  }
}

/** The bits of the nearest half-precision number; for magnitudes below 65504. */
function halfBits(value: number): number {
  const sign = value < 0 ? 0x8000 : 0
  const magnitude = Math.abs(value)
  // Below the smallest normal number there are only multiples of 2^-24.
  if (magnitude < 2 ** -14) return sign | Math.round(magnitude * 2 ** 24)
  const exponent = Math.floor(Math.log2(magnitude))
  const fraction = Math.round((magnitude / 2 ** exponent - 1) * 1024)
  // A fraction that rounds up to 1024 carries into the exponent, which is what it should do.
  return sign | (((exponent + 15) << 10) + fraction)
}
