import type { ValueType } from './format.ts'
import { quoted, type Refuse } from './refusal.ts'

export type MetadataValue =
  | { readonly kind: 'number'; readonly type: ValueType; readonly value: number }
  | { readonly kind: 'bool'; readonly value: boolean }
  /** `bytes` is undefined where the string is too long to be kept. */
  | { readonly kind: 'string'; readonly length: number; readonly bytes: Buffer | undefined }
  /** `numbers` is undefined where the elements are not numbers or too many to be one per layer. */
  | {
      readonly kind: 'array'
      readonly elementType: ValueType
      readonly length: number
      readonly numbers: readonly number[] | undefined
    }

/** The key/value section of one file. The getters refuse the file when a value is not of the kind asked for. */
export class Metadata {
  constructor(
    private readonly values: ReadonlyMap<string, MetadataValue>,
    private readonly refuse: Refuse,
  ) {}

  has(key: string): boolean {
    return this.values.has(key)
  }

  text(key: string): string | undefined {
    const value = this.values.get(key)
    if (!value) return undefined
    if (value.kind !== 'string') throw this.unexpected(key, value, 'a string')
    if (!value.bytes) throw this.refuse(`${quoted(key)} is ${value.length} bytes long`)
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(value.bytes)
    } catch (cause) {
      throw this.refuse(`${quoted(key)} is not UTF-8 text`, cause)
    }
  }

  /** A whole number that is not negative. */
  count(key: string): number | undefined {
    const value = this.values.get(key)
    if (!value) return undefined
    if (value.kind !== 'number' || !isCount(value.value)) throw this.unexpected(key, value, 'a whole number')
    return value.value
  }

  /** A number of any type; it may be negative, infinite or none at all. */
  number(key: string): number | undefined {
    const value = this.values.get(key)
    if (!value) return undefined
    if (value.kind !== 'number') throw this.unexpected(key, value, 'a number')
    return value.value
  }

  /** One number per layer, whether the file gives an array or one number for all layers. */
  perLayer(key: string, layers: number): readonly number[] | undefined {
    const value = this.values.get(key)
    if (!value) return undefined
    if (value.kind !== 'array') return Array.from({ length: layers }, () => this.count(key) ?? 0)
    if (value.length !== layers) {
      throw this.refuse(`${quoted(key)} has ${value.length} entries for ${layers} layers`)
    }
    if (!value.numbers?.every(isCount)) throw this.unexpected(key, value, 'whole numbers')
    return value.numbers
  }

  /** Entries of an array whose elements are of one of these types. */
  arrayLength(key: string, elementTypes: readonly ValueType[]): number | undefined {
    const value = this.values.get(key)
    if (!value) return undefined
    if (value.kind !== 'array' || !elementTypes.includes(value.elementType)) {
      throw this.unexpected(key, value, `an array of ${elementTypes.join(' or ')}`)
    }
    return value.length
  }

  private unexpected(key: string, value: MetadataValue, wanted: string): Error {
    return this.refuse(`${quoted(key)} must be ${wanted} but is ${described(value)}`)
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function described(value: MetadataValue): string {
  switch (value.kind) {
    case 'number':
      return `the ${value.type} ${value.value}`
    case 'bool':
      return `${value.value}`
    case 'string':
      return 'a string'
    case 'array':
      return `an array of ${value.length} ${value.elementType}`
  }
}
