import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import { DEFAULT_ALIGNMENT, MAGIC, READABLE_VERSIONS } from './format.ts'
import { HeaderCursor } from './header-cursor.ts'
import type { Metadata } from './metadata.ts'
import { type ModelShape, readModelShape } from './model-shape.ts'
import { readMetadata } from './read-metadata.ts'
import { readTensors, type TensorInfo } from './read-tensors.ts'
import { quoted, type Refuse, refusalOf } from './refusal.ts'

/** The specification asks for a multiple of 8; pages of 2 MiB are the largest reason to want more. */
const ALIGNMENT_MIN = 8
const ALIGNMENT_MAX = 2 ** 21

export interface GgufHeader extends ModelShape {
  readonly version: number
  /** Of all parts together, where the model is split. So are the next two. */
  readonly fileBytes: number
  readonly tensorBytes: number
  readonly parameterCount: number
  /** The tensor type that holds most bytes, such as `Q4_1`. */
  readonly quantization: string
  /** Of a model in several files, of which this is the first; all of them were read. */
  readonly split: { readonly index: number; readonly count: number } | undefined
}

/**
 * Reads and checks everything that a GGUF file says about itself, before any native code sees the file. Weights
 * are not read. Of a split model, name the first file: the others, which an engine would load beside it, are
 * found by their names and checked as well.
 * @throws HelixError `model_invalid` (the file is no usable GGUF model; the message says what is wrong and
 *   where), `not_found` (no such file)
 */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  const first = await readPart(path)
  const { metadata, refuse } = first
  const split = readSplit(path, metadata, refuse)
  const parts = split ? [first, ...(await readFollowingParts(path, split.count, refuse))] : [first]
  const tensors = parts.flatMap((part) => part.tensors)
  if (tensors.length === 0) throw refuse('it has no tensors')
  if (split) checkUniqueNames(tensors, refuse)
  return {
    ...readModelShape(metadata, tensors, refuse),
    version: first.version,
    fileBytes: sum(parts.map((part) => part.fileBytes)),
    tensorBytes: sum(tensors.map((tensor) => tensor.bytes)),
    parameterCount: sum(tensors.map((tensor) => tensor.elements)),
    quantization: dominantType(tensors),
    split,
  }
}

/** One file, checked for itself. */
interface Part {
  readonly version: number
  readonly fileBytes: number
  readonly metadata: Metadata
  readonly tensors: readonly TensorInfo[]
  readonly refuse: Refuse
}

async function readPart(path: string): Promise<Part> {
  const refuse = refusalOf(path)
  const file = await openModel(path, refuse)
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw refuse('it is not a regular file')
    return await parse(new HeaderCursor(file, stats.size, refuse))
  } finally {
    await file.close()
  }
}

async function openModel(path: string, refuse: Refuse): Promise<FileHandle> {
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer that may never come.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new HelixError('not_found', `There is no file ${path}. Check the path of the model.`, { cause })
    }
    throw refuse(`it cannot be opened (${String(code ?? cause)})`, cause)
  }
}

async function parse(cursor: HeaderCursor): Promise<Part> {
  const { refuse, fileBytes } = cursor
  const magic = (await cursor.bytes(MAGIC.length)).toString('latin1')
  if (magic !== MAGIC) throw refuse(`it begins with ${quoted(magic)} where every GGUF file has "GGUF"`)
  const version = await cursor.number('uint32')
  if (version !== 0 && version % 2 ** 16 === 0) {
    throw refuse('it is written for big-endian machines, which no engine here reads')
  }
  if (!READABLE_VERSIONS.includes(version)) {
    throw refuse(`it has GGUF version ${version}; versions ${READABLE_VERSIONS.join(' and ')} can be read`)
  }
  const tensorCount = await cursor.size()
  const keyCount = await cursor.size()
  const metadata = await readMetadata(cursor, keyCount)
  const tensors = await readTensors(cursor, tensorCount, readAlignment(metadata, refuse))
  return { version, fileBytes, metadata, tensors, refuse }
}

function readAlignment(metadata: Metadata, refuse: Refuse): number {
  const alignment = metadata.count('general.alignment') ?? DEFAULT_ALIGNMENT
  const powerOfTwo = Number.isInteger(Math.log2(alignment))
  if (!powerOfTwo || alignment < ALIGNMENT_MIN || alignment > ALIGNMENT_MAX) {
    throw refuse(
      `"general.alignment" is ${alignment}, which is no power of two within ${ALIGNMENT_MIN} to ${ALIGNMENT_MAX}`,
    )
  }
  return alignment
}

/** @throws HelixError `model_invalid` unless the file is whole in itself or the first of its model */
function readSplit(path: string, metadata: Metadata, refuse: Refuse): GgufHeader['split'] {
  const count = metadata.count('split.count') ?? 0
  if (count <= 1) return undefined
  const index = metadata.count('split.no')
  if (index !== 0)
    throw refuse(`it is part ${(index ?? 0) + 1} of a model in ${count} files; name the first file`)
  if (!path.endsWith(partSuffix(0, count))) {
    throw refuse(`it is the first of ${count} files, so its name must end in ${partSuffix(0, count)}`)
  }
  return { index, count }
}

async function readFollowingParts(path: string, count: number, refuse: Refuse): Promise<Part[]> {
  const parts: Part[] = []
  for (let index = 1; index < count; index += 1) {
    const partPath = join(
      dirname(path),
      basename(path).slice(0, -partSuffix(0, count).length) + partSuffix(index, count),
    )
    const part = await readPart(partPath).catch((error: unknown) => {
      if (!(error instanceof HelixError) || error.code !== 'not_found') throw error
      throw refuse(`it is the first of ${count} files, but ${basename(partPath)} is not beside it`, error)
    })
    if (part.metadata.count('split.no') !== index) {
      throw part.refuse(`its name says that it is part ${index + 1} of ${count}, its metadata does not`)
    }
    parts.push(part)
  }
  return parts
}

/** How the files of a split model are named; parts count from 1 in names and from 0 in metadata. */
function partSuffix(index: number, count: number): string {
  const padded = (value: number) => String(value).padStart(5, '0')
  return `-${padded(index + 1)}-of-${padded(count)}.gguf`
}

function checkUniqueNames(tensors: readonly TensorInfo[], refuse: Refuse): void {
  const names = new Set<string>()
  for (const { name } of tensors) {
    if (names.has(name)) throw refuse(`tensor ${quoted(name)} appears in two of its files`)
    names.add(name)
  }
}

function dominantType(tensors: readonly TensorInfo[]): string {
  const bytes = new Map<string, number>()
  for (const tensor of tensors) bytes.set(tensor.type, (bytes.get(tensor.type) ?? 0) + tensor.bytes)
  return [...bytes].reduce((most, entry) => (entry[1] > most[1] ? entry : most))[0]
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
