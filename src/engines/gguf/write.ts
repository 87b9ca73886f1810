import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { HelixError } from '../../core/errors.ts'
import {
  alignUp,
  DEFAULT_ALIGNMENT,
  elementCount,
  MAGIC,
  NUMBER_BYTES,
  type NumberType,
  packedBytes,
  type TensorType,
  tensorLayout,
  VALUE_TYPES,
  type ValueType,
  VERSION,
} from './format.ts'

export type MetadataEntry =
  | { readonly type: NumberType; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'array'; readonly of: 'string'; readonly values: readonly string[] }
  | { readonly type: 'array'; readonly of: NumberType; readonly values: readonly number[] }

export interface TensorSource {
  readonly name: string
  readonly type: TensorType
  /** The first is the length of a row. */
  readonly dimensions: readonly number[]
  /** The packed weights, in pieces of any size; read once, while they are written. */
  chunks(): Iterable<Uint8Array>
}

export interface GgufContents {
  readonly metadata: Readonly<Record<string, MetadataEntry>>
  readonly tensors: readonly TensorSource[]
}

/**
 * Writes a GGUF file, version 3, tensors streamed one chunk at a time. The file appears under its name only
 * when it is complete.
 * @throws HelixError `invalid_value` (a tensor's chunks or rows do not match its shape), `disk_full`
 */
export async function writeGguf(path: string, contents: GgufContents): Promise<void> {
  const partial = `${path}.partial`
  try {
    const file = await open(partial, 'w')
    try {
      await writeContents(file, contents)
    } finally {
      await file.close()
    }
    await rename(partial, path)
  } catch (cause) {
    await rm(partial, { force: true })
    throw asHelixError(path, cause)
  }
}

async function writeContents(file: FileHandle, { metadata, tensors }: GgufContents): Promise<void> {
  const header = encodeHeader(metadata, tensors)
  await writePadded(file, header, header.length)
  for (const tensor of tensors) {
    let written = 0
    for (const chunk of tensor.chunks()) {
      await file.writeFile(chunk)
      written += chunk.length
    }
    const expected = tensorBytes(tensor)
    if (written !== expected) {
      throw new HelixError(
        'invalid_value',
        `Tensor ${tensor.name} has ${written} bytes instead of ${expected}.`,
      )
    }
    await writePadded(file, new Uint8Array(0), written)
  }
}

/** Writes `bytes` and zeros up to the alignment, `length` being what the piece has had so far. */
async function writePadded(file: FileHandle, bytes: Uint8Array, length: number): Promise<void> {
  await file.writeFile(Buffer.concat([bytes, Buffer.alloc(alignUp(length, DEFAULT_ALIGNMENT) - length)]))
}

function encodeHeader(metadata: GgufContents['metadata'], tensors: readonly TensorSource[]): Buffer {
  const entries = Object.entries(metadata)
  const pieces = [Buffer.from(MAGIC), uint32(VERSION), uint64(tensors.length), uint64(entries.length)]
  for (const [key, entry] of entries) pieces.push(text(key), ...encodeEntry(entry))
  let offset = 0
  for (const tensor of tensors) {
    const { name, dimensions, type } = tensor
    pieces.push(text(name), uint32(dimensions.length), ...dimensions.map(uint64))
    pieces.push(uint32(tensorLayout(type).id), uint64(offset))
    offset += alignUp(tensorBytes(tensor), DEFAULT_ALIGNMENT)
  }
  return Buffer.concat(pieces)
}

function encodeEntry(entry: MetadataEntry): Buffer[] {
  const pieces = [typeId(entry.type)]
  if (entry.type === 'string') return [...pieces, text(entry.value)]
  if (entry.type === 'bool') return [...pieces, Buffer.from([entry.value ? 1 : 0])]
  if (entry.type !== 'array') return [...pieces, encodeNumber(entry.type, entry.value)]
  pieces.push(typeId(entry.of), uint64(entry.values.length))
  if (entry.of === 'string') return [...pieces, ...entry.values.map(text)]
  const { of, values } = entry
  return [...pieces, ...values.map((value) => encodeNumber(of, value))]
}

function tensorBytes({ name, type, dimensions }: TensorSource): number {
  const { blockLength } = tensorLayout(type)
  const rowLength = dimensions[0] ?? 1
  if (rowLength % blockLength !== 0) {
    throw new HelixError(
      'invalid_value',
      `Tensor ${name} has rows of ${rowLength} weights, but type ${type} packs ${blockLength} at a time.`,
    )
  }
  return packedBytes(type, elementCount(dimensions))
}

function typeId(type: ValueType): Buffer {
  return uint32(VALUE_TYPES.indexOf(type))
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint64(bytes.length), bytes])
}

function uint32(value: number): Buffer {
  return encodeNumber('uint32', value)
}

function uint64(value: number): Buffer {
  return encodeNumber('uint64', value)
}

function encodeNumber(type: NumberType, value: number): Buffer {
  const bytes = Buffer.alloc(NUMBER_BYTES[type])
  switch (type) {
    case 'float32':
      bytes.writeFloatLE(value)
      break
    case 'float64':
      bytes.writeDoubleLE(value)
      break
    case 'uint64':
      bytes.writeBigUInt64LE(BigInt(value))
      break
    case 'int64':
      bytes.writeBigInt64LE(BigInt(value))
      break
    default:
      if (type.startsWith('u')) bytes.writeUIntLE(value, 0, bytes.length)
      else bytes.writeIntLE(value, 0, bytes.length)
  }
  return bytes
}

function asHelixError(path: string, cause: unknown): HelixError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new HelixError('disk_full', `The disk is full: ${path} cannot be written. Free some space.`, {
      cause,
    })
  }
  return HelixError.from(cause)
}
