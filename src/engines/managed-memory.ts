import type { MemoryNeed } from '../contracts/node.ts'
import type { GrantedDevice } from './granted-device.ts'
import type { WeightFolder } from './weight-folder.ts'

const GIB = 2 ** 30

/**
 * What vLLM and SGLang take beside weights, keys and values, on each device: the process and its libraries on the card,
 * the graphs that they record, room to compute one batch. Between 1.2 and 2.5 GiB for models up to 8 billion weights.
 */
export const ENGINE_MARGIN_BYTES = 2.5 * GIB

const KEY_VALUE_BYTES = 2

/**
 * Memory of one instance: the weights as they lie on the disk, keys and values of every token that all slots together
 * can hold, and the margin. These engines take whatever they are allowed; the reckoning says what they need for this.
 */
export function managedMemory(
  { sizeBytes, facts }: Pick<WeightFolder, 'sizeBytes' | 'facts'>,
  { slots, contextLength }: { readonly slots: number; readonly contextLength: number },
): MemoryNeed {
  const tokenBytes = 2 * facts.layers * facts.keyValueHeads * facts.headLength * KEY_VALUE_BYTES
  return {
    memoryBytes: Math.ceil(sizeBytes + tokenBytes * slots * contextLength + ENGINE_MARGIN_BYTES),
    perDeviceBytes: ENGINE_MARGIN_BYTES,
  }
}

/** What a fraction may be at most: a card has always lost a little to its driver. */
const FRACTION_MAX = 0.98
const FRACTION_MIN = 0.01

/** vLLM's `--gpu-memory-utilization`, a fraction of the whole card and the same on each: the least of our shares. */
export function fractionOfCard(devices: readonly Pick<GrantedDevice, 'bytes' | 'totalBytes'>[]): string {
  return fraction(devices.map(({ bytes, totalBytes }) => bytes / totalBytes))
}

/**
 * SGLang's `--mem-fraction-static`, a fraction of what is free when it starts, for weights, keys and values alone: room
 * to compute comes on top of it.
 */
export function fractionOfFree(devices: readonly Pick<GrantedDevice, 'bytes' | 'freeBytes'>[]): string {
  return fraction(devices.map(({ bytes, freeBytes }) => (bytes - ENGINE_MARGIN_BYTES) / freeBytes))
}

/** Rounded down: what is asked for beyond the share is another engine's. */
function fraction(parts: readonly number[]): string {
  const least = Math.min(FRACTION_MAX, ...parts)
  return (Math.floor(Math.max(FRACTION_MIN, least) * 1000) / 1000).toFixed(3)
}
