import { isNumberType, type NumberType, VALUE_TYPES, type ValueType } from './format.ts'
import { type HeaderCursor, smallestBytes } from './header-cursor.ts'
import { Metadata, type MetadataValue } from './metadata.ts'
import { quoted } from './refusal.ts'

/** Engines compare every key with every earlier one, so a huge count would cost them minutes. */
const KEYS_MAX = 16_384
const KEY_BYTES_MAX = 65_535
/** Longer texts are passed over: nothing that we use is near it, a tokenizer's own file may be. */
const KEPT_STRING_BYTES_MAX = 1024 * 1024
const KEPT_NUMBERS_MAX = 4096
const TOKENS_MAX = 1024 * 1024
/** Length of the key, one character, type of the value, one byte. */
const SMALLEST_KEY_BYTES = 8 + 1 + 4 + 1

export const TOKENS_KEY = 'tokenizer.ggml.tokens'

/** Reads `keyCount` keys and values; the cursor stands at the first and is left behind the last. */
export async function readMetadata(cursor: HeaderCursor, keyCount: number): Promise<Metadata> {
  if (keyCount > KEYS_MAX)
    throw cursor.refuse(`it announces ${keyCount} metadata keys; ${KEYS_MAX} is the most`)
  cursor.expectRoom(keyCount, SMALLEST_KEY_BYTES, 'metadata keys')
  const values = new Map<string, MetadataValue>()
  for (let index = 0; index < keyCount; index += 1) {
    cursor.place = `metadata key ${index + 1} of ${keyCount}`
    const key = await readName(cursor, KEY_BYTES_MAX)
    if (values.has(key)) throw cursor.refuse(`metadata key ${quoted(key)} appears twice`)
    cursor.place = `the value of ${quoted(key)}`
    const type = await readType(cursor)
    values.set(key, type === 'array' ? await readArray(cursor, key) : await readScalar(cursor, type))
  }
  return new Metadata(values, cursor.refuse)
}

/** A key or the name of a tensor: printable ASCII without spaces, which every known writer keeps to. */
export async function readName(cursor: HeaderCursor, bytesMax: number): Promise<string> {
  const length = await cursor.size()
  if (length === 0) throw cursor.refuse(`${cursor.place} has an empty name`)
  if (length > bytesMax) {
    throw cursor.refuse(`${cursor.place} has a name of ${length} bytes; ${bytesMax} is the most`)
  }
  const name = (await cursor.bytes(length)).toString('latin1')
  if (!/^[!-~]+$/.test(name)) {
    throw cursor.refuse(`${cursor.place} has a name with unprintable bytes: ${quoted(name)}`)
  }
  return name
}

async function readType(cursor: HeaderCursor): Promise<ValueType> {
  const id = await cursor.number('uint32')
  const type = VALUE_TYPES[id]
  if (!type) throw cursor.refuse(`${cursor.place} has the unknown type ${id}`)
  return type
}

async function readScalar(cursor: HeaderCursor, type: Exclude<ValueType, 'array'>): Promise<MetadataValue> {
  if (isNumberType(type)) return { kind: 'number', type, value: await cursor.number(type) }
  if (type === 'bool') {
    const value = await cursor.number('uint8')
    if (value > 1) throw cursor.refuse(`${cursor.place} must be true or false but is ${value}`)
    return { kind: 'bool', value: value === 1 }
  }
  const length = await cursor.size()
  if (length <= KEPT_STRING_BYTES_MAX) return { kind: 'string', length, bytes: await cursor.bytes(length) }
  await cursor.skip(length)
  return { kind: 'string', length, bytes: undefined }
}

async function readArray(cursor: HeaderCursor, key: string): Promise<MetadataValue> {
  const elementType = await readType(cursor)
  if (elementType === 'array') {
    throw cursor.refuse(`${cursor.place} is an array of arrays, which no engine reads`)
  }
  const length = await cursor.size()
  cursor.expectRoom(length, smallestBytes(elementType), `values of type ${elementType}`)
  if (elementType === 'string') {
    if (key === TOKENS_KEY) await readTokens(cursor, length)
    else await cursor.eachString(length)
  } else if (isNumberType(elementType) && length <= KEPT_NUMBERS_MAX) {
    return { kind: 'array', elementType, length, numbers: await readNumbers(cursor, elementType, length) }
  } else {
    await cursor.skip(length * smallestBytes(elementType))
  }
  return { kind: 'array', elementType, length, numbers: undefined }
}

async function readNumbers(cursor: HeaderCursor, type: NumberType, length: number): Promise<number[]> {
  const numbers: number[] = []
  while (numbers.length < length) numbers.push(await cursor.number(type))
  return numbers
}

/**
 * Two equal tokens abort the engine's process (an assertion in llama-vocab.cpp), so they are looked for here, as
 * the engine sees them: cut at a zero byte, and with a name of their own where that leaves nothing.
 */
async function readTokens(cursor: HeaderCursor, length: number): Promise<void> {
  if (length > TOKENS_MAX) throw cursor.refuse(`it has ${length} tokens; ${TOKENS_MAX} is the most`)
  const seen = new Set<string>()
  await cursor.eachString(length, (bytes) => {
    const zero = bytes.indexOf(0)
    const text = bytes.toString('latin1', 0, zero < 0 ? bytes.length : zero)
    const token = text === '' ? `[EMPTY_${seen.size}]` : text
    if (seen.has(token)) {
      throw cursor.refuse(`token ${seen.size} of the vocabulary is there twice: ${quoted(token)}`)
    }
    seen.add(token)
  })
}
