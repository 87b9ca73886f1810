import { expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { silentLog } from '../core/log.ts'
import { seededRandom } from '../core/random.ts'
import type { Database } from '../storage/database.ts'
import { AccessTokens } from './access-tokens.ts'
import { newApiKey } from './api-keys.ts'
import { AuthService } from './service.ts'
import { SigningKeys } from './signing-keys.ts'
import { UsageService } from './usage.ts'

/** Counts what would have been sent to a server, and answers as an empty one. */
class CountingDatabase implements Database {
  queries = 0

  async query(): Promise<readonly []> {
    this.queries += 1
    return []
  }

  transaction<Result>(work: (transaction: Database) => Promise<Result>): Promise<Result> {
    return work(this)
  }

  read(): Promise<readonly []> {
    return this.query()
  }

  readTransaction<Result>(work: (transaction: Database) => Promise<Result>): Promise<Result> {
    return work(this)
  }

  position(): undefined {}

  async listen(): Promise<() => Promise<void>> {
    return async () => {}
  }

  async close(): Promise<void> {}
}

function serviceOn(database: Database): AuthService {
  const pepper = Buffer.alloc(32)
  const clock = new ManualClock()
  const keys = new SigningKeys({ database, pepper, clock, log: silentLog, tokenLifeMs: 1 })
  return new AuthService({
    database,
    pepper,
    clock,
    hashPassword: () => expect.unreachable('nobody has a password here'),
    usage: new UsageService(database),
    kpis: { kpis: () => expect.unreachable('nobody asks for figures here') },
    signingKeys: keys,
    accessTokens: new AccessTokens({ keys, issuer: 'helixflow', lifeMs: 1, clock }),
    sessionLifeMs: 1,
    login: undefined,
  })
}

test('a malformed key is refused without a look into the database, a well-formed one with exactly one', async () => {
  const database = new CountingDatabase()
  const auth = serviceOn(database)
  const random = seededRandom(2)
  for (let index = 0; index < 2_000; index++) {
    const { plaintext } = newApiKey()
    const at = Math.floor(random.uniform() * plaintext.length)
    const mutated = `${plaintext.slice(0, at)}${plaintext[at] === 'x' ? 'y' : 'x'}${plaintext.slice(at + 1)}`
    await expect(auth.verify(mutated)).rejects.toMatchObject({ code: 'invalid_api_key', status: 401 })
  }
  expect(database.queries).toBe(0)

  await expect(auth.verify(newApiKey().plaintext)).rejects.toMatchObject({ code: 'invalid_api_key' })
  expect(database.queries).toBe(1)
})

test('each watcher hears each revocation until it ends its watch', () => {
  const auth = serviceOn(new CountingDatabase())
  const first: (string | undefined)[] = []
  const second: (string | undefined)[] = []
  const end = auth.watchRevocations((id) => first.push(id))
  auth.watchRevocations((id) => second.push(id))
  auth.announceRevocation('a')
  end()
  auth.announceRevocation(undefined)
  expect(first).toEqual(['a'])
  expect(second).toEqual(['a', undefined])
})
