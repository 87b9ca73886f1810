import { expect, it } from 'vitest'
import { TINY_TOKEN_IDS, tinyVocabulary } from './tiny-vocabulary.ts'

it.each([261, 262, 1000, 32_000])(
  '%d tokens are as many, all different, each longer one made by a merge',
  (size) => {
    const { tokens, tokenTypes, merges } = tinyVocabulary(size)
    expect(tokens).toHaveLength(size)
    expect(tokenTypes).toHaveLength(size)
    expect(new Set(tokens).size).toBe(size)

    const made = merges.map((merge) => merge.replace(' ', ''))
    expect(tokens.slice(261)).toEqual(made)
    const known = new Set(tokens.slice(5, 261))
    for (const merge of merges) {
      const [left = '', right = ''] = merge.split(' ')
      expect(known.has(left) && known.has(right), merge).toBe(true)
      known.add(left + right)
    }
  },
)

it('every byte has its token, in the alphabet of byte-level BPE', () => {
  const { tokens } = tinyVocabulary(261)
  const bytes = new Set(tokens.slice(5))
  expect(bytes.size).toBe(256)
  // Known from GPT-2: space is G with a dot, newline C with a dot, and é, two bytes in UTF-8, is Ã©.
  for (const token of ['Ġ', 'Ċ', 'Ã', '©', 'Ń', 'a', '~', '!']) expect(bytes.has(token), token).toBe(true)
  expect([...bytes].every((token) => (token.codePointAt(0) ?? 0) <= 0x143)).toBe(true)
})

it('special tokens stand where their ids say, and all that may be spoken is printable', () => {
  const { tokens, tokenTypes, speakableFrom } = tinyVocabulary(1000)
  expect(tokens[TINY_TOKEN_IDS.endOfText]).toBe('<|endoftext|>')
  expect(tokens[TINY_TOKEN_IDS.imStart]).toBe('<|im_start|>')
  expect(tokens[TINY_TOKEN_IDS.imEnd]).toBe('<|im_end|>')
  expect(tokens[TINY_TOKEN_IDS.toolCall]).toBe('<tool_call>')
  expect(tokenTypes.slice(0, 6)).toEqual([3, 3, 3, 4, 4, 1])
  for (const token of tokens.slice(speakableFrom)) expect(token).toMatch(/^[!-~Ġ]+$/)
  expect(tokens.slice(5, speakableFrom).some((token) => /^[!-~Ġ]$/.test(token))).toBe(false)
})
