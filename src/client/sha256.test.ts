import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { Sha256 } from './sha256.ts'
import { TextDigest } from './text-digest.ts'

const hashOf = (...parts: Uint8Array[]) => {
  const hash = new Sha256()
  for (const part of parts) hash.update(part)
  return hash.finish()
}

describe('SHA-256', () => {
  test('is that of FIPS 180-4 for the examples of the standard', () => {
    const text = (value: string) => hashOf(new TextEncoder().encode(value))
    expect(text('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
    expect(text('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
    expect(text('abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq')).toBe(
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    )
  })

  test('is that of OpenSSL for every length around the block and for long input, however it is cut', () => {
    const random = seededRandom(1)
    for (const length of [...Array.from({ length: 200 }, (_, at) => at), 4_096, 65_537, 1_000_003]) {
      const bytes = randomBytes(length)
      const cuts = Array.from({ length: 3 }, () => Math.floor(random.uniform() * (length + 1))).sort(
        (a, b) => a - b,
      )
      const parts = [...cuts, length].map((end, index) => bytes.subarray(cuts[index - 1] ?? 0, end))
      expect(hashOf(...parts), `length ${length}`).toBe(createHash('sha256').update(bytes).digest('hex'))
    }
  })
})

test('the hash of a text does not depend on where it is cut, even within a character', () => {
  const text = 'äöü 中文 😀 👩‍🚀 end'
  const whole = createHash('sha256').update(text).digest('hex')
  for (let at = 0; at <= text.length; at++) {
    const digest = new TextDigest()
    digest.update(text.slice(0, at))
    digest.update(text.slice(at))
    expect(digest.finish(), `cut at ${at}`).toBe(whole)
  }
})

test('half a character at the end counts as what UTF-8 makes of it', () => {
  const digest = new TextDigest()
  digest.update('a\ud83d')
  expect(digest.finish()).toBe(createHash('sha256').update('a\ufffd').digest('hex'))
})
