import { afterAll, beforeAll, expect, test } from 'vitest'
import { askEchoes } from './echoes.ts'
import { describeServers, type TestServer } from './servers.ts'

describeServers((start) => {
  let server: TestServer
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server.stop())

  test('no question that was given up leaves its answer to the next one', async () => {
    const { answered, abandoned, mismatches } = await askEchoes(server.connection, {
      questions: 3_000,
      seed: 60,
    })
    expect(mismatches).toEqual([])
    expect(answered).toBeGreaterThan(300)
    expect(abandoned).toBeGreaterThan(300)
  })
})
