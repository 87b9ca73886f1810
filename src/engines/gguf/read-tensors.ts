import {
  alignUp,
  DIMENSIONS_MAX,
  elementCount,
  packedBytes,
  TENSOR_NAME_BYTES_MAX,
  type TensorType,
  tensorLayout,
  tensorTypeOf,
} from './format.ts'
import type { HeaderCursor } from './header-cursor.ts'
import { readName } from './read-metadata.ts'
import { quoted } from './refusal.ts'

/** Engines compare every name with every earlier one; the largest models have a few thousand tensors. */
const TENSORS_MAX = 65_536
/** Length of the name, one character, count of dimensions, type, offset. */
const SMALLEST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8

/** One tensor as the header announces it. */
export interface TensorInfo {
  readonly name: string
  readonly type: TensorType
  readonly dimensions: readonly number[]
  readonly elements: number
  readonly bytes: number
  /** From the start of the tensor data. */
  readonly offset: number
}

/**
 * Reads `tensorCount` tensors and proves that their data lies one behind the other inside the file, as engines
 * demand. The cursor stands at the first and is left behind the last.
 */
export async function readTensors(
  cursor: HeaderCursor,
  tensorCount: number,
  alignment: number,
): Promise<readonly TensorInfo[]> {
  if (tensorCount > TENSORS_MAX) {
    throw cursor.refuse(`it announces ${tensorCount} tensors; ${TENSORS_MAX} is the most`)
  }
  cursor.place = 'the list of tensors'
  cursor.expectRoom(tensorCount, SMALLEST_TENSOR_BYTES, 'tensors')
  const tensors: TensorInfo[] = []
  const names = new Set<string>()
  for (let index = 0; index < tensorCount; index += 1) {
    cursor.place = `tensor ${index + 1} of ${tensorCount}`
    const name = await readName(cursor, TENSOR_NAME_BYTES_MAX)
    if (names.has(name)) throw cursor.refuse(`tensor ${quoted(name)} appears twice`)
    names.add(name)
    cursor.place = `tensor ${quoted(name)}`
    tensors.push(await readTensor(cursor, name))
  }
  checkExtents(cursor, tensors, alignment)
  return tensors
}

async function readTensor(cursor: HeaderCursor, name: string): Promise<TensorInfo> {
  const dimensionCount = await cursor.number('uint32')
  if (dimensionCount > DIMENSIONS_MAX) {
    throw cursor.refuse(`${cursor.place} has ${dimensionCount} dimensions; ${DIMENSIONS_MAX} is the most`)
  }
  const dimensions: number[] = []
  while (dimensions.length < dimensionCount) dimensions.push(await cursor.size())
  const shape = `[${dimensions.join(', ')}]`
  if (dimensions.includes(0)) throw cursor.refuse(`${cursor.place} has the empty shape ${shape}`)
  const elements = elementCount(dimensions)
  if (!Number.isSafeInteger(elements)) throw cursor.refuse(`${cursor.place} has the absurd shape ${shape}`)

  const typeId = await cursor.number('uint32')
  const type = tensorTypeOf(typeId)
  if (!type) throw cursor.refuse(`${cursor.place} has the unknown type ${typeId}`)
  const { blockLength } = tensorLayout(type)
  const rowLength = dimensions[0] ?? 1
  if (rowLength % blockLength !== 0) {
    throw cursor.refuse(
      `${cursor.place} has rows of ${rowLength} weights, but type ${type} packs ${blockLength} at a time`,
    )
  }
  const bytes = packedBytes(type, elements)
  return { name, type, dimensions, elements, bytes, offset: await cursor.size() }
}

/** Engines read tensors in file order, each at the first aligned byte behind the one before. */
function checkExtents(cursor: HeaderCursor, tensors: readonly TensorInfo[], alignment: number): void {
  const dataStart = alignUp(cursor.position, alignment)
  const dataBytes = cursor.fileBytes - dataStart
  let expected = 0
  for (const { name, offset, bytes } of tensors) {
    const where = `tensor ${quoted(name)}`
    if (offset % alignment !== 0) {
      throw cursor.refuse(`${where} starts at ${offset}, which is no multiple of the alignment ${alignment}`)
    }
    if (offset < expected) {
      throw cursor.refuse(
        `${where} starts at ${offset} and overlaps the tensor before it, which ends at ${expected}`,
      )
    }
    if (offset > expected) {
      throw cursor.refuse(
        `${where} starts at ${offset}, leaving a gap behind the tensor before it (${expected})`,
      )
    }
    if (bytes > dataBytes - offset) {
      throw cursor.refuse(
        `${where} needs bytes ${dataStart + offset} to ${dataStart + offset + bytes}, but the file has only ${cursor.fileBytes}`,
      )
    }
    expected = alignUp(offset + bytes, alignment)
  }
}
