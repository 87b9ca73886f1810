import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sendBadInput } from '../../support/bad-input.ts'
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

test('mutated bodies', async () => {
  const before = await inspector.bytesInUse()
  for (let round = 1; round < 3; round++) {
    const t = performance.now()
    const report = await sendBadInput(server, { seed: round, perRoute: 1500 })
    console.log(round, Math.round(performance.now() - t), report.statuses, report.slowest, 'livez', report.livezMs.length, report.livezMs.at(-1), report.livezMs[Math.floor(report.livezMs.length*0.95)], (await inspector.bytesInUse()) - before)
    for (const p of report.problems.slice(0, 400)) console.log(p)
  }
  console.log(server.log().split('\n').filter((l) => !l.includes('"request"')).join('\n').slice(-3000))
})
