import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Config } from '../../../src/config/schema.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import { writeTinyModel } from '../../../src/engines/gguf/tiny-model.ts'
import { ModelStore } from '../../../src/engines/model-store.ts'
import { descendsFrom } from '../../../src/node/devices/process-tree.ts'
import type { NodeService } from '../../../src/node/service.ts'
import { startNode } from '../../../src/node/start.ts'
import { systemClock } from '../../../src/system.ts'
import { testDirectory, testEngine } from '../../support/engine.ts'
import { sourceSettings } from '../../support/model-sources.ts'
import { NvmlLibrary } from '../../support/nvml/nvml-library.ts'
import { isRunning, processesWith } from '../../support/processes.ts'
import { wrappedEngine } from '../../support/wrapped-engine.ts'

const GIB = 2 ** 30
const SHAPE = { slots: 2, contextLength: 512, chatTemplate: undefined, engine: undefined }

async function nodes() {
  const directory = await testDirectory()
  const store = await ModelStore.open({
    ...{ directory, clock: systemClock, log: silentLog },
    sources: sourceSettings({}),
  })
  await writeTinyModel(join(directory, 'tiny.gguf'), { seed: 7 })
  // The engine of the tests computes on the processor, whatever device it is told.
  const serverPath = await wrappedEngine(join(directory, 'engine'), WITHOUT_DEVICE)
  const anywhere = async () => ({ ...(await testEngine()), serverPath })
  return (nvmlLibrary?: string, log: Logger = silentLog) =>
    startNode({
      ...{ config: Config.parse({ engines: { nvmlLibrary } }).engines, perModel: {}, store },
      ...{ llamaServer: anywhere, managed: noManaged, cacheDirectory: join(directory, 'cache') },
      ...{ clock: systemClock, log, socketDirectory: join(directory, 'run') },
      footprintsPath: join(directory, 'footprints.json'),
    })
}

const WITHOUT_DEVICE = `left=$#
while [ $left -gt 0 ]; do
  one="$1"; shift; left=$((left - 1))
  if [ "$one" = --device ]; then shift; left=$((left - 1)); else set -- "$@" "$one"; fi
done`

const noManaged = async () => {
  throw new HelixError('engine_missing', 'There is none.')
}

test('what an engine takes is measured, never less than reckoned, and remembered over a restart', async () => {
  const open = await nodes()
  const node = open()
  const [cpu] = (await node.devices()).slice(-1)
  const deviceId = cpu?.id ?? ''
  const reckoned = await node.estimate('tiny', SHAPE)
  // As if the reckoning had been far too low.
  const share = { deviceId, bytes: 1 }
  const shares = await start(node, share)
  expect(shares).toEqual([{ deviceId, bytes: expect.any(Number) }])
  const takenBytes = shares?.[0]?.bytes ?? 0
  expect(takenBytes).toBeGreaterThan(2 ** 20)
  await node.stop('a')
  const generous = { deviceId, bytes: 2 * takenBytes }
  expect(await start(node, generous)).toEqual([generous])
  await node.stop('a')
  await node.close()
  const again = open()
  const learned = await again.estimate('tiny', SHAPE)
  expect(learned.memoryBytes).toBeGreaterThanOrEqual(Math.max(reckoned.memoryBytes, takenBytes))
  expect((await again.listModels())[0]?.cached).toBe(true)
  await again.close()
})

test('an engine has stopped when the card says that its memory is free', async () => {
  const card = { id: 'GPU-one', slowdown: 90, temperature: 50 }
  const library = new NvmlLibrary({ cards: [{ ...card, memory: [80 * GIB, 0, 5 * GIB] }] })
  const node = (await nodes())(library.path)
  // What the card is said to hold of it, the test says.
  expect(await start(node, { deviceId: 'GPU-one', bytes: GIB })).toBeUndefined()
  const [pid] = processesWith('--alias tiny').filter((one) => descendsFrom(one, process.pid))
  const processes = [{ pid: pid ?? 0, bytes: 2 * GIB }]
  library.sees({ cards: [{ ...card, memory: [80 * GIB, 0, 7 * GIB], processes }] })
  const used = async () =>
    (await node.devices()).map(({ usedBytes, foreignBytes }) => [usedBytes, foreignBytes])[0]
  await expect.poll(used).toEqual([7 * GIB, 5 * GIB])
  let hasStopped = false
  const stopping = node.stop('a').then(() => {
    hasStopped = true
  })
  await expect.poll(() => isRunning(pid ?? 0)).toBe(false)
  library.sees({ cards: [{ ...card, memory: [80 * GIB, 0, 7 * GIB] }] })
  await node.devices()
  expect(hasStopped).toBe(false)
  library.sees({ cards: [{ ...card, memory: [80 * GIB, 0, 5 * GIB] }] })
  await stopping
  await node.close()
})

test('an engine that ends while it is measured is not told as ready, and holds nothing', async () => {
  const card = { id: 'GPU-one', slowdown: 90, temperature: 50 }
  const memory = [80 * GIB, 0, 5 * GIB] as const
  const library = new NvmlLibrary({ cards: [{ ...card, memory }] })
  const killer: Logger = {
    ...silentLog,
    with: () => killer,
    info: (event, fields) => {
      if (event !== 'engine started') return
      library.sees({ cards: [{ ...card, memory }], hangMs: 700 })
      process.kill(Number(fields?.['pid']), 'SIGKILL')
    },
  }
  const node = (await nodes())(library.path, killer)
  const share = { deviceId: 'GPU-one', bytes: 3 * GIB }
  const outcome = await node.start({ instanceId: 'a', model: 'tiny', shape: SHAPE, shares: [share] })
  expect(outcome).toMatchObject({ kind: 'gone', why: 'crashed' })
  library.sees({ cards: [{ ...card, memory }] })
  // All that is in use is somebody else's.
  await expect.poll(async () => (await node.devices())[0]?.foreignBytes).toBe(5 * GIB)
  await node.close()
})

async function start(node: NodeService, share: { readonly deviceId: string; readonly bytes: number }) {
  const outcome = await node.start({ instanceId: 'a', model: 'tiny', shape: SHAPE, shares: [share] })
  if (outcome.kind !== 'ready') throw outcome.error
  return outcome.engine.shares
}
