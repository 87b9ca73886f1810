import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { ensureLlamaServer, findLlamaServers, type LlamaEngine } from '../../../src/engines/llama-locate.ts'
import { systemClock } from '../../../src/system.ts'
import { testDirectory, testEngine } from '../../support/engine.ts'

const card = { id: 'GPU-1', kind: 'cuda', name: 'a card' } as const

let engine: LlamaEngine

beforeAll(async () => {
  engine = await testEngine()
})

/** Computes on the processor when it is told to use a card, after it has written down what it saw of cards. */
const WITH_CARD = 'echo "$CUDA_VISIBLE_DEVICES" >>"$seen"'

/** Ends at its start, as one does that has no code for the card. */
const WITHOUT_CARD = 'echo "error: invalid device: CUDA0"; exit 1'

/** A folder for the PATH with a server that does this when it is to compute on a card. */
async function serverThat(onCard: string): Promise<string> {
  const directory = await testDirectory()
  const script = `#!/bin/bash
seen='${directory}/seen'
args=()
while [ $# -gt 0 ]; do
  if [ "$1" = --device ] && [ "$2" = CUDA0 ]; then ${onCard}; shift 2
  elif [ "$1" = --n-gpu-layers ]; then shift 2
  else args+=("$1"); shift; fi
done
exec '${engine.serverPath}' --device none "\${args[@]}"
`
  writeFileSync(join(directory, 'llama-server'), script, { mode: 0o755 })
  return directory
}

function options(searchPath: string, changes: object = {}) {
  const quiet = { onProgress: () => {}, clock: systemClock, log: silentLog }
  return { ...quiet, searchPath, cacheDirectory: searchPath, ...changes }
}

describe('an engine for a card', () => {
  test('is one that generates on it, seeing no other; that is remembered for cards of this name', async () => {
    const path = await serverThat(WITH_CARD)
    const seen = () => readFileSync(join(path, 'seen'), 'utf8').trim().split('\n')
    const found = await ensureLlamaServer(options(path, { devices: [card] }))
    expect(found).toMatchObject({ origin: 'path', serverPath: join(path, 'llama-server') })
    expect(seen()).toEqual(['GPU-1'])
    await ensureLlamaServer(options(path, { devices: [{ ...card, id: 'GPU-2' }] }))
    expect(seen()).toEqual(['GPU-1'])
    await ensureLlamaServer(
      options(path, { devices: [card, { ...card, id: 'GPU-3', name: 'another card' }] }),
    )
    expect(seen()).toEqual(['GPU-1', 'GPU-3'])
  })

  test('is not one that works on the processor only', async () => {
    const path = await serverThat(WITHOUT_CARD)
    expect(await findLlamaServers(options(path))).toMatchObject([{ works: true }])
    expect(await findLlamaServers(options(path, { devices: [card] }))).toMatchObject([
      { works: false, reason: expect.stringMatching(/test generation failed.*invalid device/) },
    ])
  })

  test('that the operator configured is never silently replaced', async () => {
    const path = await serverThat(WITHOUT_CARD)
    const configuredPath = join(path, 'llama-server')
    await expect(ensureLlamaServer(options(path, { configuredPath, devices: [card] }))).rejects.toMatchObject(
      { code: 'engine_unusable', publicMessage: expect.stringMatching(configuredPath) },
    )
  })
})

test('our build does not pass for one of a card by computing on the processor', async () => {
  const cacheDirectory = await testDirectory()
  const build = dirname(engine.serverPath)
  cpSync(build, join(cacheDirectory, basename(build)), { recursive: true })
  const cudaBackend = join(cacheDirectory, 'libggml-cuda.so')
  writeFileSync(cudaBackend, 'no library')
  const asked = options('/usr/bin:/bin', { cacheDirectory, cudaBackend, devices: [card] })
  const failure = await ensureLlamaServer(asked).catch((cause: unknown) => cause)
  expect(failure).toMatchObject({
    code: 'engine_unusable',
    publicMessage: expect.stringMatching(/No engine computes on a card.*named:.*test generation failed/),
  })
  expect(await findLlamaServers(asked)).toMatchObject([{ backend: 'named', works: false }])
  expect(await findLlamaServers({ ...asked, devices: [] })).toMatchObject([{ origin: 'built', works: true }])
})
