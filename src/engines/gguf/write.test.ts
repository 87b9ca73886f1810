import { existsSync } from 'node:fs'
import { mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { HeaderCursor } from './header-cursor.ts'
import { readMetadata } from './read-metadata.ts'
import { readTensors } from './read-tensors.ts'
import { refusalOf } from './refusal.ts'
import { type GgufContents, type TensorSource, writeGguf } from './write.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gguf-'))
  path = join(folder, 'model.gguf')
})
afterEach(() => rm(folder, { recursive: true }))

it('every type of value is read back as it was written', async () => {
  const numbers = {
    uint8: 255,
    int8: -128,
    uint16: 65_535,
    int16: -32_768,
    uint32: 2 ** 32 - 1,
    int32: -(2 ** 31),
    float32: 0.5,
    uint64: 2 ** 53 - 1,
    int64: -(2 ** 53 - 1),
    float64: 1 / 3,
  } as const
  const metadata: Record<string, GgufContents['metadata'][string]> = {
    text: { type: 'string', value: 'Grüße, 世界' },
    yes: { type: 'bool', value: true },
    counts: { type: 'array', of: 'uint16', values: [1, 2, 65_535] },
    names: { type: 'array', of: 'string', values: ['a', '', 'ü'] },
  }
  for (const [type, value] of Object.entries(numbers)) {
    metadata[type] = { type: type as keyof typeof numbers, value }
  }
  await writeGguf(path, { metadata, tensors: [] })

  const file = await open(path)
  const cursor = new HeaderCursor(file, (await file.stat()).size, refusalOf(path))
  await cursor.skip(24)
  const read = await readMetadata(cursor, Object.keys(metadata).length)
  await file.close()
  for (const [type, value] of Object.entries(numbers)) expect(read.number(type), type).toBe(value)
  expect(read.text('text')).toBe('Grüße, 世界')
  expect(read.has('yes')).toBe(true)
  expect(read.perLayer('counts', 3)).toEqual([1, 2, 65_535])
  expect(read.arrayLength('names', ['string'])).toBe(3)
})

it('tensors lie aligned, one behind the other, with the bytes that they were given', async () => {
  const first = tensor('first', 5, [Buffer.from([1, 2]), Buffer.from([3, 4, 5])])
  const second = tensor('second', 3, [Buffer.from([6, 7, 8])])
  await writeGguf(path, { metadata: {}, tensors: [first, second] })

  const file = await open(path)
  const bytes = await readFile(path)
  const cursor = new HeaderCursor(file, bytes.length, refusalOf(path))
  await cursor.skip(24)
  const tensors = await readTensors(cursor, 2, 32)
  await file.close()
  expect(tensors).toEqual([
    { name: 'first', type: 'I8', dimensions: [5], elements: 5, bytes: 5, offset: 0 },
    { name: 'second', type: 'I8', dimensions: [3], elements: 3, bytes: 3, offset: 32 },
  ])
  expect(bytes.length % 32).toBe(0)
  expect([...bytes.subarray(-64)].filter((byte) => byte !== 0)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  expect(bytes.at(-64)).toBe(1)
  expect(bytes.at(-32)).toBe(6)
})

it('a tensor that does not fill its shape is refused, and the file there before stays as it was', async () => {
  await writeFile(path, 'before')
  const short = tensor('short', 5, [Buffer.alloc(4)])
  await expect(writeGguf(path, { metadata: {}, tensors: [short] })).rejects.toMatchObject({
    code: 'invalid_value',
    publicMessage: 'Tensor short has 4 bytes instead of 5.',
  })
  const halfBlock: TensorSource = { ...short, type: 'Q8_0', dimensions: [48, 2] }
  await expect(writeGguf(path, { metadata: {}, tensors: [halfBlock] })).rejects.toMatchObject({
    code: 'invalid_value',
    publicMessage: expect.stringMatching(/rows of 48 weights, but type Q8_0 packs 32/),
  })
  expect(await readFile(path, 'utf8')).toBe('before')
  expect(await readdir(folder)).toEqual(['model.gguf'])
})

it.runIf(existsSync('/dev/full'))('a full disk is called by its name', async () => {
  await symlink('/dev/full', `${path}.partial`)
  await expect(writeGguf(path, { metadata: {}, tensors: [] })).rejects.toMatchObject({ code: 'disk_full' })
  expect(await readdir(folder)).toEqual([])
})

function tensor(name: string, length: number, chunks: readonly Buffer[]): TensorSource {
  return { name, type: 'I8', dimensions: [length], chunks: () => chunks }
}
