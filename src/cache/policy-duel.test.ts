import { describe, expect, test } from 'vitest'
import { FrequencySketch } from './frequency-sketch.ts'
import { keyHash } from './key-hash.ts'
import { PolicyDuel } from './policy-duel.ts'

/** A duel over a cache of 200 entries of 10 bytes that is full of keys that were popular. */
function duelOver() {
  const sketch = new FrequencySketch()
  const duel = new PolicyDuel(2_000, sketch, 'frequency')
  const ask = (key: string) => {
    sketch.add(keyHash(key))
    duel.observe(keyHash(key), 10)
  }
  for (let time = 0; time < 4; time++) for (let each = 0; each < 200; each++) ask(`popular ${each}`)
  return { duel, ask, forget: (key: string) => duel.forget(keyHash(key)) }
}

describe('the duel', () => {
  test('is won by recency where keys come back soon and then never again', () => {
    const { duel, ask } = duelOver()
    for (let each = 0; each < 300; each++) {
      ask(`new ${each}`)
      if (each >= 20) ask(`new ${each - 20}`)
    }
    expect(duel.leader).toBe('recency')
  })

  test('takes no key for found that was forgotten meanwhile, which no policy would have kept', () => {
    const { duel, ask, forget } = duelOver()
    for (let each = 0; each < 300; each++) {
      ask(`new ${each}`)
      if (each < 20) continue
      forget(`new ${each - 20}`)
      ask(`new ${each - 20}`)
    }
    expect(duel.leader).toBe('frequency')
  })

  test('is won by frequency again where popular keys come between many others', () => {
    const { duel, ask } = duelOver()
    duel.leader = 'recency'
    for (let each = 0; each < 4_000; each++) {
      ask(`new ${each}`)
      ask(`popular ${(each * 7) % 150}`)
    }
    expect(duel.leader).toBe('frequency')
  })
})
