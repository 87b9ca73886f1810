import { describe, expect, test } from 'vitest'
import type { AuthClient, Identity } from '../../contracts/auth.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { KeyCache } from './authenticate.ts'

function setUp(options: { expiresAtMs?: number } = {}) {
  const clock = new ManualClock(1_000_000)
  const asked: string[] = []
  let revoke: (keyId: string | undefined) => void = () => {}
  let answer = async (key: string): Promise<Identity> => ({
    organisationId: 'o',
    projectId: 'p',
    keyId: key,
    expiresAtMs: options.expiresAtMs,
  })
  const unused = () => expect.unreachable('the cache does not ask this')
  const auth: AuthClient = {
    verifyKey: (key) => {
      asked.push(key)
      return answer(key)
    },
    createKey: unused,
    listKeys: unused,
    revokeKey: unused,
    problem: unused,
    watchRevocations: (listener) => {
      revoke = listener
      return () => {}
    },
  }
  const cache = new KeyCache({ auth, clock, entriesMax: 2, ttlMs: 10_000 })
  const onVerify = (next: typeof answer) => {
    answer = next
  }
  return { clock, cache, asked, revoke: (id: string | undefined) => revoke(id), onVerify }
}

describe('a verified key', () => {
  test('is asked for once in its time', async () => {
    const { cache, clock, asked } = setUp()
    await cache.identify('a')
    clock.advance(9_999)
    expect(cache.identify('a')).toMatchObject({ keyId: 'a' })
    clock.advance(1)
    await cache.identify('a')
    expect(asked).toEqual(['a', 'a'])
  })

  test('is asked for once by many at the same time', async () => {
    const { cache, asked } = setUp()
    await Promise.all(Array.from({ length: 50 }, () => cache.identify('a')))
    expect(asked).toEqual(['a'])
  })

  test('is not trusted beyond its own expiry', async () => {
    const { cache, clock, asked } = setUp({ expiresAtMs: 1_000_500 })
    await cache.identify('a')
    clock.advance(500)
    await cache.identify('a')
    expect(asked).toEqual(['a', 'a'])
  })

  test('is forgotten when it is revoked, and only it', async () => {
    const { cache, asked, revoke } = setUp()
    await cache.identify('a')
    await cache.identify('b')
    revoke('a')
    await cache.identify('a')
    await cache.identify('b')
    expect(asked).toEqual(['a', 'b', 'a'])
  })

  test('is forgotten when revocations may have been missed', async () => {
    const { cache, asked, revoke } = setUp()
    await cache.identify('a')
    revoke(undefined)
    await cache.identify('a')
    expect(asked).toEqual(['a', 'a'])
  })

  test('whose answer was under way during a revocation is not remembered', async () => {
    const { cache, asked, revoke, onVerify } = setUp()
    let release: (identity: Identity) => void = () => {}
    onVerify(() => new Promise((resolve) => (release = resolve)))
    const first = cache.identify('a')
    revoke('a')
    release({ organisationId: 'o', projectId: 'p', keyId: 'a', expiresAtMs: undefined })
    await first
    void cache.identify('a')
    expect(asked).toEqual(['a', 'a'])
  })

  test('takes the place of the one that was used longest ago', async () => {
    const { cache, asked } = setUp()
    for (const key of ['a', 'b', 'a', 'c', 'a', 'b']) await cache.identify(key)
    expect(asked).toEqual(['a', 'b', 'c', 'b'])
  })
})

test('a refusal is not remembered: a key that was just created works at once', async () => {
  const { cache, onVerify } = setUp()
  onVerify(async () => {
    throw new HelixError('invalid_api_key', 'no')
  })
  await expect(cache.identify('a')).rejects.toThrow('no')
  onVerify(async (keyId) => ({ organisationId: 'o', projectId: 'p', keyId, expiresAtMs: undefined }))
  expect(await cache.identify('a')).toMatchObject({ keyId: 'a' })
})
