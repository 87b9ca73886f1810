import { afterAll, beforeAll, expect, test } from 'vitest'
import { askEchoes } from '../integration/storage/echoes.ts'
import { describeServers, type TestServer } from '../integration/storage/servers.ts'

describeServers((start) => {
  let server: TestServer
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server.stop())

  test('of 20,000 questions, many of them given up, none gets another’s answer', async () => {
    const { answered, abandoned, mismatches } = await askEchoes(server.connection, {
      questions: 20_000,
      seed: 61,
    })
    expect(mismatches).toEqual([])
    expect(answered).toBeGreaterThan(2_000)
    expect(abandoned).toBeGreaterThan(2_000)
  })
})
