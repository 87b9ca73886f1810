/** What the GGUF format fixes, as read by llama.cpp: numbers little-endian, tensor data after the header. */
export const MAGIC = 'GGUF'
export const VERSION = 3
export const DEFAULT_ALIGNMENT = 32

/** Every version that is laid out like ours. Version 1 had 32-bit counts; engines dropped it in 2024. */
export const READABLE_VERSIONS: readonly number[] = [2, 3]

/** A tensor has at most this many dimensions, the first being the length of a row. */
export const DIMENSIONS_MAX = 4

/** Engines keep a tensor's name in 64 bytes, the last one being zero. */
export const TENSOR_NAME_BYTES_MAX = 63

/** Value types of the metadata; a type's id in the file is its place in this list. */
export const VALUE_TYPES = [
  'uint8',
  'int8',
  'uint16',
  'int16',
  'uint32',
  'int32',
  'float32',
  'bool',
  'string',
  'array',
  'uint64',
  'int64',
  'float64',
] as const

export type ValueType = (typeof VALUE_TYPES)[number]
export type NumberType = keyof typeof NUMBER_BYTES

/** Bytes per value of the types that hold one number. */
export const NUMBER_BYTES = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  uint64: 8,
  int64: 8,
  float64: 8,
} as const satisfies Partial<Record<ValueType, number>>

export function isNumberType(type: ValueType): type is NumberType {
  return type in NUMBER_BYTES
}

/**
 * How each ggml type packs a row: `blockLength` weights share one block of `blockBytes`. The ids missing here
 * belonged to layouts that engines no longer read.
 */
const TENSOR_TYPES = {
  F32: { id: 0, blockLength: 1, blockBytes: 4 },
  F16: { id: 1, blockLength: 1, blockBytes: 2 },
  Q4_0: { id: 2, blockLength: 32, blockBytes: 18 },
  Q4_1: { id: 3, blockLength: 32, blockBytes: 20 },
  Q5_0: { id: 6, blockLength: 32, blockBytes: 22 },
  Q5_1: { id: 7, blockLength: 32, blockBytes: 24 },
  Q8_0: { id: 8, blockLength: 32, blockBytes: 34 },
  Q8_1: { id: 9, blockLength: 32, blockBytes: 36 },
  Q2_K: { id: 10, blockLength: 256, blockBytes: 84 },
  Q3_K: { id: 11, blockLength: 256, blockBytes: 110 },
  Q4_K: { id: 12, blockLength: 256, blockBytes: 144 },
  Q5_K: { id: 13, blockLength: 256, blockBytes: 176 },
  Q6_K: { id: 14, blockLength: 256, blockBytes: 210 },
  Q8_K: { id: 15, blockLength: 256, blockBytes: 292 },
  IQ2_XXS: { id: 16, blockLength: 256, blockBytes: 66 },
  IQ2_XS: { id: 17, blockLength: 256, blockBytes: 74 },
  IQ3_XXS: { id: 18, blockLength: 256, blockBytes: 98 },
  IQ1_S: { id: 19, blockLength: 256, blockBytes: 50 },
  IQ4_NL: { id: 20, blockLength: 32, blockBytes: 18 },
  IQ3_S: { id: 21, blockLength: 256, blockBytes: 110 },
  IQ2_S: { id: 22, blockLength: 256, blockBytes: 82 },
  IQ4_XS: { id: 23, blockLength: 256, blockBytes: 136 },
  I8: { id: 24, blockLength: 1, blockBytes: 1 },
  I16: { id: 25, blockLength: 1, blockBytes: 2 },
  I32: { id: 26, blockLength: 1, blockBytes: 4 },
  I64: { id: 27, blockLength: 1, blockBytes: 8 },
  F64: { id: 28, blockLength: 1, blockBytes: 8 },
  IQ1_M: { id: 29, blockLength: 256, blockBytes: 56 },
  BF16: { id: 30, blockLength: 1, blockBytes: 2 },
  TQ1_0: { id: 34, blockLength: 256, blockBytes: 54 },
  TQ2_0: { id: 35, blockLength: 256, blockBytes: 66 },
  MXFP4: { id: 39, blockLength: 32, blockBytes: 17 },
  NVFP4: { id: 40, blockLength: 64, blockBytes: 36 },
  Q1_0: { id: 41, blockLength: 128, blockBytes: 18 },
  Q2_0: { id: 42, blockLength: 64, blockBytes: 18 },
} as const satisfies Record<string, TensorLayout>

export interface TensorLayout {
  readonly id: number
  readonly blockLength: number
  readonly blockBytes: number
}

export type TensorType = keyof typeof TENSOR_TYPES

const TYPE_BY_ID: ReadonlyMap<number, TensorType> = new Map(
  tensorTypes().map((type) => [TENSOR_TYPES[type].id, type]),
)

export function tensorLayout(type: TensorType): TensorLayout {
  return TENSOR_TYPES[type]
}

/** The type with that id in the file, or undefined where there is none. */
export function tensorTypeOf(id: number): TensorType | undefined {
  return TYPE_BY_ID.get(id)
}

/** Weights of a tensor of that shape; beyond `Number.MAX_SAFE_INTEGER` not exact, but never below it. */
export function elementCount(dimensions: readonly number[]): number {
  return dimensions.reduce((product, dimension) => product * dimension, 1)
}

/** Bytes of `elements` weights that fill whole blocks, without the padding that follows in the file. */
export function packedBytes(type: TensorType, elements: number): number {
  const { blockLength, blockBytes } = TENSOR_TYPES[type]
  return (elements / blockLength) * blockBytes
}

/** The next multiple of `alignment` that is not below `position`. */
export function alignUp(position: number, alignment: number): number {
  return Math.ceil(position / alignment) * alignment
}

function tensorTypes(): TensorType[] {
  return Object.keys(TENSOR_TYPES) as TensorType[]
}
