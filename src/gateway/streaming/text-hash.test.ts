import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { seededRandom } from '../../core/random.ts'
import { TextHash } from './text-hash.ts'

test('is the hash of the whole, wherever it was cut', () => {
  const random = seededRandom(5)
  const text = 'Grüße, 🙂🙂 𝄞 und \ud83d allein 🙂'
  const whole = createHash('sha256').update(text).digest('hex')
  for (let round = 0; round < 200; round++) {
    const hash = new TextHash()
    for (let at = 0; at < text.length; ) {
      const next = at + 1 + Math.floor(3 * random.uniform())
      hash.add(text.slice(at, next))
      at = next
    }
    expect(hash.finish()).toBe(whole)
  }
})
