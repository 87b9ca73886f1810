import { afterAll, beforeAll, expect, test } from 'vitest'
import { expectUnharmed, sendBadInput } from '../../support/bad-input.ts'
import { INSPECTABLE, Inspector } from '../../support/inspector.ts'
import { type Server, startServer } from '../../support/server.ts'

let server: Server
let inspector: Inspector

beforeAll(async () => {
  // A small context bounds what a request costs that lost its max_tokens.
  server = await startServer({ config: { models: { contextLength: 256 } }, environment: INSPECTABLE })
  inspector = await Inspector.attach(server)
})
afterAll(async () => {
  inspector?.close()
  if (server) expect(await server.stop()).toBe(0)
})

test('1,500 mutated bodies to each route: each is answered in the form of the contract, and no harm stays', async () => {
  // Everything that is made once, such as connections and compiled code, is there before memory is looked at.
  await sendBadInput(server, { seed: 1, perRoute: 200 })
  await expectUnharmed(server, inspector, () => sendBadInput(server, { seed: 2, perRoute: 1_500 }))
}, 300_000)
