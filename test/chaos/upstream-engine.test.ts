import { beforeAll, expect, test } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import { buildLlamaServer } from '../../src/engines/llama-build.ts'
import type { LlamaEngine } from '../../src/engines/llama-engine.ts'
import { ENGINE_CACHE, startTestServer, testEngine } from '../support/engine.ts'
import { engineConformance, seededChoices } from '../support/engine-conformance.ts'

let upstream: Promise<LlamaEngine> | undefined

/** The same source without our patches: minutes to build, the first time. */
function upstreamEngine(): Promise<LlamaEngine> {
  upstream ??= buildLlamaServer({
    cacheDirectory: `${ENGINE_CACHE}-upstream`,
    searchPath: process.env['PATH'] ?? '',
    patches: [],
    onProgress: () => {},
    log: silentLog,
  }).then((build) => ({ origin: 'built', ...build }))
  return upstream
}

beforeAll(upstreamEngine)

engineConformance(upstreamEngine)

test('our engine says what the one without our patches says, to the letter', async () => {
  const answers = []
  for (const engine of [await upstreamEngine(), await testEngine()]) {
    const server = await startTestServer({ engine, slots: 8, contextLength: 512 })
    answers.push(await seededChoices(server))
  }
  expect(answers[1]).toEqual(answers[0])
})
