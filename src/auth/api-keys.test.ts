import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { apiKeyHmac, apiKeyId, formatApiKey, hmacMatches, newApiKey, pepperFingerprint } from './api-keys.ts'

describe('a new key', () => {
  test('has the documented form, and gives its id back', () => {
    const { id, plaintext } = newApiKey()
    expect(plaintext).toMatch(/^hf_live_[0-9A-Za-z]{16}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/)
    expect(plaintext).toHaveLength(75)
    expect(apiKeyId(plaintext)).toBe(id)
  })

  test('is never made twice, and uses every digit in every place of its secret', () => {
    const keys = Array.from({ length: 2_000 }, newApiKey)
    expect(new Set(keys.map(({ id }) => id)).size).toBe(2_000)
    for (let place = 0; place < 43; place++) {
      const digits = new Set(keys.map(({ plaintext }) => plaintext.split('_')[3]?.[place]))
      expect(digits.size).toBe(62)
    }
  })
})

describe('the checksum', () => {
  test('is CRC-32 in base 62: fixed by an example, since keys outlive programs', () => {
    const key = formatApiKey('0123456789abcdef', 'A'.repeat(43))
    expect(key).toBe(`hf_live_0123456789abcdef_${'A'.repeat(43)}_2SJW0z`)
  })

  test('finds each change of one character', () => {
    const { plaintext } = newApiKey()
    for (let index = 0; index < plaintext.length; index++) {
      for (const other of ['0', 'a', 'Z', '_', ' ', 'é', '\0']) {
        if (plaintext[index] === other) continue
        expect(apiKeyId(plaintext.slice(0, index) + other + plaintext.slice(index + 1))).toBeUndefined()
      }
    }
  })

  test('finds what else happens to texts that are copied by hand', () => {
    const { plaintext } = newApiKey()
    const wrong = [
      '',
      ` ${plaintext}`,
      `${plaintext}\n`,
      plaintext.slice(0, -1),
      plaintext.slice(1),
      plaintext.toUpperCase(),
      plaintext.replace('hf_live_', 'sk-'),
      plaintext.replaceAll('_', '-'),
      plaintext + plaintext,
      `Bearer ${plaintext}`,
      "' or 1=1 --",
      'x'.repeat(8_192),
    ]
    for (const text of wrong) expect(apiKeyId(text), JSON.stringify(text)).toBeUndefined()
  })

  test('lets none of 10 000 mutated keys through, at less than 50 microseconds each', () => {
    const random = seededRandom(1)
    const characters = 'abcXYZ019_-$ \u0000é'
    const mutated = Array.from({ length: 10_000 }, () => {
      const text = [...newApiKey().plaintext]
      const original = text.join('')
      while (text.join('') === original) {
        for (let changes = 1 + Math.floor(random.uniform() * 4); changes > 0; changes--) {
          const character = characters.charAt(Math.floor(random.uniform() * characters.length))
          text[Math.floor(random.uniform() * text.length)] = character
        }
      }
      return text.join('')
    })
    const startMs = performance.now()
    const passed = mutated.filter((key) => apiKeyId(key) !== undefined)
    const tookMs = performance.now() - startMs
    expect(passed).toEqual([])
    expect(tookMs / mutated.length).toBeLessThan(0.05)
  })
})

describe('the stored HMAC', () => {
  const pepper = Buffer.alloc(32, 1)
  const stored = apiKeyHmac('key', pepper)

  test('matches its own key and pepper alone', () => {
    expect(hmacMatches(apiKeyHmac('key', pepper), stored)).toBe(true)
    expect(hmacMatches(apiKeyHmac('kez', pepper), stored)).toBe(false)
    expect(hmacMatches(apiKeyHmac('key', Buffer.alloc(32, 2)), stored)).toBe(false)
  })

  test('matches nothing where none is stored, not even nothing', () => {
    expect(hmacMatches(stored, undefined)).toBe(false)
    expect(hmacMatches(Buffer.alloc(32), undefined)).toBe(false)
  })

  test('tells peppers apart without holding them', () => {
    expect(pepperFingerprint(pepper)).toEqual(pepperFingerprint(Buffer.alloc(32, 1)))
    expect(pepperFingerprint(pepper)).not.toEqual(pepperFingerprint(Buffer.alloc(32, 2)))
    expect(pepperFingerprint(pepper).includes(pepper)).toBe(false)
  })
})
