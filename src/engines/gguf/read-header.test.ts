import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { HelixError } from '../../core/errors.ts'
import { type Random, seededRandom } from '../../core/random.ts'
import { readGgufHeader } from './read-header.ts'
import { writeTinyModel } from './tiny-model.ts'
import { type GgufContents, type TensorSource, writeGguf } from './write.ts'

let folder: string
let path: string
let sound: Buffer
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gguf-'))
  path = join(folder, 'model.gguf')
  const shape = { layers: 1, embeddingLength: 32, feedForwardLength: 32, headCount: 2, vocabSize: 300 }
  await writeTinyModel(path, { seed: 1, ...shape })
  sound = await readFile(path)
})
afterAll(() => rm(folder, { recursive: true }))

/** The first two tensors of the sound file. */
const FIRST = 'token_embd.weight'
const SECOND = 'blk.0.attn_norm.weight'

/** The least that is a model, as long as there is a tensor. */
const METADATA: GgufContents['metadata'] = {
  'general.architecture': { type: 'string', value: 'llama' },
  'llama.context_length': { type: 'uint32', value: 512 },
  'llama.embedding_length': { type: 'uint32', value: 32 },
  'llama.block_count': { type: 'uint32', value: 1 },
  'llama.attention.head_count': { type: 'uint32', value: 2 },
  'tokenizer.ggml.model': { type: 'string', value: 'gpt2' },
  'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: ['a', 'b'] },
}

describe('a damaged file is refused within a second:', () => {
  it.each<[string, (file: Buffer) => Buffer, RegExp]>([
    ['empty', () => Buffer.alloc(0), /the file ends inside the file header \(byte 0 of 0\)/],
    ['cut in the first number', (file) => file.subarray(0, 6), /ends inside the file header/],
    ['cut in the metadata', (file) => file.subarray(0, 700), /300 values of type string, but only/],
    [
      'cut in a tensor',
      (file) => file.subarray(0, behind(file, FIRST) + 9),
      /announces 12 tensors, but only/,
    ],
    ['cut in the last tensor', (file) => file.subarray(0, -1), /"output.weight" needs bytes \d+ to \d+, but/],
    ['a text file', () => Buffer.from('# A model\nIt is a fine model.'), /begins with "# A "/],
    ['version 0', (file) => patch32(file, 4, 0), /GGUF version 0/],
    ['version 1', (file) => patch32(file, 4, 1), /GGUF version 1/],
    ['version 4', (file) => patch32(file, 4, 4), /GGUF version 4/],
    ['big-endian', (file) => patch32(file, 4, 0x0300_0000), /big-endian/],
    ['no tensors', (file) => patch64(file, 8, 0n), /no tensors/],
    ['2^40 tensors', (file) => patch64(file, 8, 2n ** 40n), /1099511627776 tensors/],
    ['2^63 tensors', (file) => patch64(file, 8, 2n ** 63n), /absurd/],
    ['60000 tensors', (file) => patch64(file, 8, 60_000n), /60000 tensors, but only/],
    ['one tensor too many', (file) => patch64(file, 8, 13n), /tensor 13 of 13/],
    ['2^40 keys', (file) => patch64(file, 16, 2n ** 40n), /1099511627776 metadata keys/],
    ['10000 keys', (file) => patch64(file, 16, 10_000n), /10000 metadata keys, but only/],
    ['a key too many', (file) => patch64(file, 16, 23n), /absurd/],
    ['a key too few', (file) => patch64(file, 16, 21n), /tensor "tokenizer.chat_template" has \d+ dim/],
    ['a key of 0 bytes', (file) => patch64(file, 24, 0n), /metadata key 1 of 22 has an empty name/],
    ['a key of 2^32 bytes', (file) => patch64(file, 24, 2n ** 32n), /name of 4294967296 bytes/],
    ['a key with a zero byte', (file) => patch8(file, 34, 0), /key 1 of 22 .*unprintable bytes/],
    ['a key twice', (file) => replace(file, '.bos_', '.eos_'), /"tokenizer.ggml.eos_token_id" appears twice/],
    ['an unknown type', (file) => patch32(file, behind(file, 'general.name'), 13), /"general.name".*type 13/],
    [
      'a text past the end',
      (file) => patch64(file, value(file, 'general.name'), 2n ** 30n),
      /"general.name"/,
    ],
    ['a text of 2^62 bytes', (file) => patch64(file, value(file, 'general.name'), 2n ** 62n), /absurd/],
    [
      'a truth value of 2',
      (file) => patch8(file, value(file, 'tokenizer.ggml.add_bos_token'), 2),
      /but is 2/,
    ],
    ['an array of arrays', (file) => patch32(file, tokens(file), 9), /array of arrays/],
    ['2^40 tokens', (file) => patch64(file, tokens(file) + 4, 2n ** 40n), /1099511627776 values/],
    ['a token past the end', (file) => patch64(file, tokens(file) + 12, 65_000n), /ends inside/],
    ['a token of 1 MiB', (file) => patch64(file, tokens(file) + 12, 2n ** 20n), /string of 1048576 bytes/],
    ['a token twice', (file) => replace(file, '</tool_call>', '<|im_start|>'), /token 4 .* "<|im_start|>"/],
    ['a template that is no text', (file) => patch8(file, template(file), 0xff), /not UTF-8/],
    ['200 dimensions', (file) => patch32(file, behind(file, FIRST), 200), /200 dimensions/],
    ['2^52 by 300 weights', (file) => patch64(file, behind(file, FIRST) + 4, 2n ** 52n), /absurd shape/],
    ['2^40 by 300 weights', (file) => patch64(file, behind(file, FIRST) + 4, 2n ** 40n), /needs bytes/],
    ['an empty dimension', (file) => patch64(file, behind(file, FIRST) + 4, 0n), /empty shape \[0, 300\]/],
    ['tensor type 4, long gone', (file) => patch32(file, behind(file, FIRST) + 20, 4), /unknown type 4/],
    [
      'tensor type 2^31',
      (file) => patch32(file, behind(file, FIRST) + 20, 2 ** 31),
      /unknown type 2147483648/,
    ],
    [
      'rows of half a block',
      (file) => patch32(file, behind(file, FIRST) + 20, 12),
      /of 32 .* Q4_K packs 256/,
    ],
    ['an offset not aligned', (file) => patch64(file, offset(file), 19_201n), /19201, .* the alignment 32/],
    ['two tensors in one place', (file) => patch64(file, offset(file), 0n), /starts at 0 and overlaps/],
    ['a gap between tensors', (file) => patch64(file, offset(file), 19_232n), /19232, leaving a gap/],
    ['an offset of 2^60', (file) => patch64(file, offset(file), 2n ** 60n), /absurd/],
  ])(
    '%s',
    async (_, damage, says) => {
      await writeFile(path, damage(Buffer.from(sound)))
      await refused(path, says)
    },
    1000,
  )

  it.each<[string, TensorSource[], RegExp]>([
    ['a tensor twice', [vector('a'), vector('a')], /tensor "a" appears twice/],
    ['a tensor with a name of 64 bytes', [vector('a'.repeat(64))], /name of 64 bytes/],
    ['a tensor with five dimensions', [vector('a', [1, 1, 1, 1, 1])], /"a" has 5 dimensions/],
  ])(
    '%s',
    async (_, tensors, says) => {
      await writeGguf(path, { metadata: METADATA, tensors })
      await refused(path, says)
    },
    1000,
  )

  it.each([0, 4, 24, 2 ** 31])(
    'an alignment of %d',
    async (alignment) => {
      const metadata = { ...METADATA, 'general.alignment': { type: 'uint32', value: alignment } } as const
      await writeGguf(path, { metadata, tensors: [vector('a')] })
      await refused(path, new RegExp(`"general.alignment" is ${alignment}, which is no power of two`))
    },
    1000,
  )

  it('metadata beyond 256 MiB', async () => {
    await writeFile(path, patch64(Buffer.from(sound), value(sound, 'general.name'), 300n * 2n ** 20n))
    await truncate(path, 400 * 2 ** 20)
    await refused(path, /268435456 bytes a header may have end inside the value of "general.name"/)
  }, 1000)
})

describe('a model in several files', () => {
  it('is read as one', async () => {
    expect(await readGgufHeader(await writeSplit())).toMatchObject({
      split: { index: 0, count: 2 },
      parameterCount: 2 * 32,
      tensorBytes: 2 * 128,
    })
  })

  it('is refused while a part is damaged, wrong or missing', async () => {
    const first = await writeSplit()
    const second = first.replace('-00001-', '-00002-')
    await writeFile(second, (await readFile(second)).subarray(0, -1))
    await refused(first, /^split-00002-of-00002\.gguf is not a usable .* "b" needs/)
    await writeFile(second, await readFile(first))
    await refused(first, /says that it is part 2 of 2, its metadata does not/)
    await writeSplit('a')
    await refused(first, /tensor "a" appears in two of its files/)
    await rm(second)
    await refused(first, /split-00002-of-00002\.gguf is not beside it/)
  })

  it('is refused when it is not named by its first file', async () => {
    const first = await writeSplit()
    await refused(first.replace('-00001-', '-00002-'), /part 2 of a model in 2 files; name the first/)
    await writeFile(path, await readFile(first))
    await refused(path, /first of 2 files, so its name must end in -00001-of-00002\.gguf/)
  })
})

it('a missing file is told apart from a file that is no model', async () => {
  await expect(readGgufHeader(join(folder, 'none.gguf'))).rejects.toMatchObject({ code: 'not_found' })
  await expect(readGgufHeader(join(path, 'below-a-file'))).rejects.toMatchObject({ code: 'not_found' })
  await refused(folder, /not a regular file/)
})

it('2000 randomly damaged headers each parse or are refused, and quickly', async () => {
  const headerBytes = behind(sound, 'output.weight') + 32
  let refusals = 0
  for (let seed = 0; seed < 2000; seed += 1) {
    await writeFile(path, mutate(sound, headerBytes, seededRandom(seed)))
    const startMs = performance.now()
    const error = await failureOf(readGgufHeader(path))
    expect(performance.now() - startMs, `seed ${seed}`).toBeLessThan(1000)
    if (error === undefined) continue
    refusals += 1
    expect(error instanceof HelixError ? error.code : error, `seed ${seed}`).toBe('model_invalid')
  }
  expect(refusals).toBeGreaterThan(1000)
}, 60_000)

/** One to four of: a flipped bit, a spliced 64-bit number, a cut, bytes copied elsewhere. */
function mutate(original: Buffer, headerBytes: number, random: Random): Buffer {
  const below = (limit: number) => Math.floor(random.uniform() * limit)
  const numbers = [0n, 1n, 2n ** 16n, 2n ** 31n, 2n ** 32n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]
  let file: Buffer = Buffer.from(original)
  for (let left = 1 + below(4); left > 0; left -= 1) {
    const position = below(Math.min(headerBytes, file.length) - 8)
    const kind = below(8)
    if (kind === 0) file = file.subarray(0, Math.max(64, position))
    else if (kind <= 2) file.writeBigUInt64LE(numbers[below(numbers.length)] ?? 0n, position)
    else if (kind === 3) file.copy(file, below(file.length - 64), position, position + below(64))
    else file.writeUInt8(file.readUInt8(position) ^ (1 << below(8)), position)
  }
  return file
}

async function refused(file: string, says: RegExp): Promise<void> {
  const error = await failureOf(readGgufHeader(file))
  expect(error).toBeInstanceOf(HelixError)
  expect(error).toMatchObject({ code: 'model_invalid', publicMessage: expect.stringMatching(says) })
}

function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
}

/** Two files of one tensor each; returns the path of the first. */
async function writeSplit(secondTensor = 'b'): Promise<string> {
  const count = { type: 'uint32', value: 2 } as const
  for (const [index, name] of ['a', secondTensor].entries()) {
    const split = { 'split.no': { type: 'uint32', value: index }, 'split.count': count } as const
    await writeGguf(join(folder, `split-0000${index + 1}-of-00002.gguf`), {
      metadata: index === 0 ? { ...METADATA, ...split } : split,
      tensors: [vector(name)],
    })
  }
  return join(folder, 'split-00001-of-00002.gguf')
}

function vector(name: string, dimensions: readonly number[] = [32]): TensorSource {
  const elements = dimensions.reduce((product, dimension) => product * dimension, 1)
  return { name, type: 'F32', dimensions, chunks: () => [Buffer.alloc(elements * 4)] }
}

/** The byte behind a key or a tensor's name, where its type or its dimensions follow. */
function behind(file: Buffer, name: string): number {
  const length = Buffer.alloc(8)
  length.writeUInt32LE(name.length)
  return file.indexOf(Buffer.concat([length, Buffer.from(name)])) + 8 + name.length
}

function value(file: Buffer, key: string): number {
  return behind(file, key) + 4
}

/** The type of the tokens, then their count, then the first of them. */
function tokens(file: Buffer): number {
  return value(file, 'tokenizer.ggml.tokens')
}

function template(file: Buffer): number {
  return value(file, 'tokenizer.chat_template') + 8
}

/** Where the second tensor's offset stands: behind one dimension and the type. */
function offset(file: Buffer): number {
  return behind(file, SECOND) + 4 + 8 + 4
}

function patch8(file: Buffer, position: number, byte: number): Buffer {
  file.writeUInt8(byte, position)
  return file
}

function patch32(file: Buffer, position: number, number: number): Buffer {
  file.writeUInt32LE(number, position)
  return file
}

function patch64(file: Buffer, position: number, number: bigint): Buffer {
  file.writeBigUInt64LE(number, position)
  return file
}

function replace(file: Buffer, from: string, to: string): Buffer {
  file.write(to, file.indexOf(from))
  return file
}
