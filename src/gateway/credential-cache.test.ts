import { describe, expect, test } from 'vitest'
import type { Identity } from '../contracts/auth.ts'
import { NO_RIGHTS } from '../contracts/permissions.ts'
import { ManualClock } from '../core/clock.ts'
import { type ErrorCode, HelixError } from '../core/errors.ts'
import { CredentialCache } from './credential-cache.ts'

function identity(keyId: string, change: Partial<Identity> = {}): Identity {
  return {
    actor: `key:${keyId}`,
    organisationId: 'o',
    projectId: 'p',
    keyId,
    userId: undefined,
    rights: NO_RIGHTS,
    models: undefined,
    ipRules: undefined,
    limits: [],
    expiresAtMs: undefined,
    subjects: [keyId, 'o', 'p'],
    ...change,
  }
}

function setUp(options: { expiresAtMs?: number } = {}) {
  const clock = new ManualClock(1_000_000)
  const asked: string[] = []
  let revoke: (subject: string | undefined) => void = () => {}
  let answer = async (key: string): Promise<Identity> => identity(key, { expiresAtMs: options.expiresAtMs })
  const cache = new CredentialCache({
    auth: {
      verify: (key) => {
        asked.push(key)
        return answer(key)
      },
      watchRevocations: (listener) => {
        revoke = listener
        return () => {}
      },
    },
    clock,
    entriesMax: 2,
    ttlMs: 10_000,
    graceMs: 60_000,
  })
  const onVerify = (next: typeof answer) => {
    answer = next
  }
  const fail = (code: ErrorCode) =>
    onVerify(async () => {
      throw new HelixError(code, code)
    })
  return { clock, cache, asked, revoke: (id: string | undefined) => revoke(id), onVerify, fail }
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
    release(identity('a'))
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

describe('a refused credential', () => {
  test('is not asked for again in the same time, and does not push out who is known', async () => {
    const { cache, asked, fail, onVerify } = setUp()
    await cache.identify('known')
    fail('invalid_api_key')
    for (let round = 0; round < 3; round++) {
      for (const guess of ['x', 'y'])
        await expect(async () => cache.identify(guess)).rejects.toMatchObject({ code: 'invalid_api_key' })
    }
    expect(asked).toEqual(['known', 'x', 'y'])
    onVerify(async (key) => identity(key))
    expect(cache.identify('known')).toMatchObject({ keyId: 'known' })
    // Made a moment later, a key has a secret that nobody has tried before.
    expect(await cache.identify('z')).toMatchObject({ keyId: 'z' })
  })

  test('is asked for again after its time', async () => {
    const { cache, clock, fail, onVerify } = setUp()
    fail('invalid_api_key')
    await expect(async () => cache.identify('a')).rejects.toThrow()
    onVerify(async (key) => identity(key))
    clock.advance(10_000)
    expect(await cache.identify('a')).toMatchObject({ keyId: 'a' })
  })
})

describe('while the database is away', () => {
  test('a known key is good for its time and the grace, an unknown one is answered 503', async () => {
    const { cache, clock, fail } = setUp()
    await cache.identify('known')
    fail('storage_unavailable')
    clock.advance(10_000)
    expect(await cache.identify('known')).toMatchObject({ keyId: 'known' })
    await expect(cache.identify('unknown')).rejects.toMatchObject({ status: 503 })
    clock.advance(59_999)
    expect(await cache.identify('known')).toMatchObject({ keyId: 'known' })
    clock.advance(1)
    await expect(cache.identify('known')).rejects.toMatchObject({ status: 503 })
  })

  test('the outage is asked about once a second, not with each request', async () => {
    const { cache, clock, fail, asked } = setUp()
    await cache.identify('a')
    fail('storage_unavailable')
    clock.advance(10_000)
    for (let request = 0; request < 100; request++) await cache.identify('a')
    expect(asked).toHaveLength(2)
  })

  test('a key that expires or is revoked has no grace', async () => {
    const { cache, clock, fail, revoke } = setUp({ expiresAtMs: 1_012_000 })
    await cache.identify('a')
    fail('storage_unavailable')
    clock.advance(12_000)
    await expect(cache.identify('a')).rejects.toMatchObject({ status: 503 })
    const other = setUp()
    await other.cache.identify('a')
    other.fail('storage_unavailable')
    other.revoke('a')
    await expect(other.cache.identify('a')).rejects.toMatchObject({ status: 503 })
    revoke(undefined)
  })
})

describe('a running request', () => {
  const settled = () => new Promise((resolve) => setImmediate(resolve))

  test('ends with its key, its project or its organisation, and no other does', async () => {
    const { cache, revoke, onVerify } = setUp()
    const ended: string[] = []
    for (const key of ['a', 'b']) {
      const known = identity(key, { subjects: [key, 'shared'] })
      cache.hold(key, known, ({ code }) => ended.push(`${key} ${code}`))
    }
    onVerify(async (key) => {
      if (key === 'a') throw new HelixError('api_key_revoked', 'gone')
      return identity(key, { subjects: [key, 'shared'] })
    })
    revoke('shared')
    await settled()
    expect(ended).toEqual(['a api_key_revoked'])
  })

  test('goes on when its key is rotated, and when nobody can say', async () => {
    const { cache, revoke, fail } = setUp()
    const ended: string[] = []
    cache.hold('a', identity('a'), ({ code }) => ended.push(code))
    revoke('a')
    await settled()
    fail('storage_unavailable')
    revoke('a')
    await settled()
    expect(ended).toEqual([])
  })

  test('ends within the time of trust also when no message comes through', async () => {
    const { cache, clock, fail } = setUp()
    const ended: string[] = []
    const known = await cache.identify('a')
    cache.hold('a', known, ({ code }) => ended.push(code))
    fail('api_key_revoked')
    clock.advance(10_000)
    await settled()
    expect(ended).toEqual(['api_key_revoked'])
  })
})
