import { beforeEach, describe, expect, test } from 'vitest'
import { file, HandNode } from '../../test/support/hand-node.ts'
import { parseConfig } from '../config/schema.ts'
import type { Replica } from '../contracts/pool.ts'
import { ManualClock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { silentLog } from '../core/log.ts'
import { noMetrics } from '../core/metrics.ts'
import { localNode } from './node-directory.ts'
import type { PoolService } from './service.ts'
import { startPool } from './start.ts'

let node: HandNode
let clock: ManualClock
let pool: PoolService
let stop: () => Promise<void>
let replicas: readonly Replica[]
const never = new AbortController().signal
const settle = () => new Promise((resolve) => setImmediate(resolve))

/** Time goes on between two looks at it, and timers are a little early, as they are for real. */
class CreepingClock extends ManualClock {
  private crept = 0

  override monotonic(): number {
    this.crept += 0.7
    return super.monotonic() + this.crept
  }

  override schedule(delayMs: number, task: () => void): () => void {
    return super.schedule(Math.max(0, delayMs - 0.9), task)
  }
}

beforeEach(() => start(new ManualClock()))

async function start(given: ManualClock, settings: object = {}): Promise<void> {
  node = new HandNode()
  clock = given
  const running = await startPool({
    config: parseConfig({
      scheduler: { strategy: 'first-fit', swapWait: '0s', residencyMin: '0s' },
      ...settings,
    }),
    ...{ nodes: localNode(node), clock, log: silentLog, metrics: noMetrics },
  })
  pool = running.pool
  stop = running.stop
  pool.watchReplicas((table) => {
    replicas = table
  })
}

/** Asks for a model and keeps how it ended. */
function acquire(model: string, signal = never): { outcome: string | undefined } {
  const asked: { outcome: string | undefined } = { outcome: undefined }
  pool.acquire(model, signal).then(
    () => {
      asked.outcome = 'ready'
    },
    (reason: HelixError) => {
      asked.outcome = reason.code
    },
  )
  return asked
}

describe('a model that is asked for', () => {
  test('is in the table before whoever waited hears of it', async () => {
    const asked = acquire('a')
    await settle()
    expect(await pool.explainWait('a')).toMatchObject({ code: 'model_loading' })
    node.ready(0)
    await settle()
    expect(asked.outcome).toBe('ready')
    expect(replicas.map(({ model }) => model)).toEqual(['a'])
  })

  test('that does not exist is model_not_found', async () => {
    const asked = acquire('nope')
    await settle()
    expect(asked.outcome).toBe('model_not_found')
  })

  test('that the engine refuses fails whoever waits at once', async () => {
    const asked = acquire('a')
    await settle()
    node.gone(0, 'failed')
    await settle()
    expect(asked.outcome).toBe('engine_failed')
  })

  test('that crashes its engine is tried again while the caller waits, then quarantined, until the operator loads it', async () => {
    const asked = acquire('a')
    await settle()
    for (let crash = 0; crash < 3; crash++) {
      node.gone(crash, 'crashed')
      await settle()
      clock.advance(5_000)
      await settle()
    }
    expect(node.starts).toHaveLength(3)
    expect(asked.outcome).toBe('model_quarantined')
    const again = acquire('a')
    await settle()
    expect(again.outcome).toBe('model_quarantined')
    void pool.load('a', never)
    await settle()
    await settle()
    node.ready(3)
    await settle()
    expect(replicas).toHaveLength(1)
  })

  test('waits for memory until the other one is idle and gone', async () => {
    acquire('a')
    await settle()
    node.ready(0)
    await settle()
    const [first] = replicas
    pool.reportUse(first?.id ?? '', 1)
    const asked = acquire('b')
    await settle()
    expect(await pool.explainWait('b')).toMatchObject({ code: 'insufficient_memory' })
    expect(replicas, 'the busy one takes no new requests').toEqual([])
    expect(node.stopped).toEqual([])
    pool.reportUse(first?.id ?? '', 0)
    await settle()
    await settle()
    expect(node.stopped).toEqual(['a-1'])
    node.ready(1)
    await settle()
    expect(asked.outcome).toBe('ready')
  })

  test('is not loaded for a caller who left while memory was short', async () => {
    acquire('a')
    await settle()
    node.ready(0)
    await settle()
    pool.reportUse('a-1', 1)
    const leaving = new AbortController()
    const asked = acquire('b', leaving.signal)
    await settle()
    leaving.abort(new HelixError('client_closed_request', 'gone'))
    pool.reportUse('a-1', 0)
    await settle()
    expect(asked.outcome).toBe('client_closed_request')
    expect(node.starts).toHaveLength(1)
  })
})

test('a model that is not loaded is listed with the engine that would run it', async () => {
  node.files = [file('a'), { ...file('b'), engine: 'vllm' }]
  const models = await pool.listModels()
  expect(models.map(({ name, engine }) => [name, engine])).toEqual([
    ['a', 'llama-server'],
    ['b', 'vllm'],
  ])
})

test('an engine that dies leaves the table at once and comes back', async () => {
  acquire('a')
  await settle()
  node.ready(0)
  await settle()
  node.crash('a-1')
  expect(replicas).toEqual([])
  clock.advance(1_000)
  await settle()
  node.ready(1)
  await settle()
  expect(replicas.map(({ id }) => id)).toEqual(['a-2'])
})

test('a pause that ends between two looks at the clock is not slept through', async () => {
  await start(new CreepingClock())
  for (let crash = 0; crash < 2; crash++) {
    acquire('a')
    await settle()
    node.ready(crash)
    await settle()
    node.crash(`a-${crash + 1}`)
    for (let ms = 0; ms < 3_000; ms++) clock.advance(1)
    await settle()
  }
  expect(node.starts).toHaveLength(3)
})

test('an idle model is unloaded when its keep-alive ends, and the list says when', async () => {
  acquire('a')
  await settle()
  node.ready(0)
  await settle()
  expect((await pool.showModel('a')).unloadsAtMs).toBe(3_600_000)
  clock.advance(3_600_000)
  await settle()
  expect(replicas).toEqual([])
  expect(node.stopped).toEqual(['a-1'])
})

test('an engine is not started for a caller who left while its need was reckoned', async () => {
  const reckoned = node.holdEstimates()
  const leaving = new AbortController()
  const asked = acquire('a', leaving.signal)
  await settle()
  leaving.abort(new HelixError('client_closed_request', 'gone'))
  reckoned()
  await settle()
  expect(asked.outcome).toBe('client_closed_request')
  expect(node.starts).toEqual([])
})

test('whoever comes, or waits for an unload, while the pool stops is told so', async () => {
  const reckoned = node.holdEstimates()
  const asked = acquire('a')
  await settle()
  await stop()
  reckoned()
  await settle()
  expect(asked.outcome).toBe('server_draining')
})

test('a model that is unloaded while it loads is gone, and who comes next gets it', async () => {
  const first = acquire('a')
  await settle()
  const unloaded = pool.unload('a', never)
  await settle()
  expect(first.outcome).toBe('model_unavailable')
  expect((await unloaded).state).toBe('available')
  const second = acquire('a')
  await settle()
  node.gone(0, 'stopped')
  await settle()
  expect(second.outcome, 'the end of the first load is not the end of the second').toBeUndefined()
  node.ready(1)
  await settle()
  expect(second.outcome).toBe('ready')
})

test('a keep-alive of a year is waited for without looking at the clock all the time', async () => {
  class DelaysKept extends ManualClock {
    readonly delaysMs: number[] = []

    override schedule(delayMs: number, task: () => void): () => void {
      this.delaysMs.push(delayMs)
      return super.schedule(delayMs, task)
    }
  }
  const kept = new DelaysKept()
  await start(kept, { models: { keepAlive: '365d' } })
  acquire('a')
  await settle()
  node.ready(0)
  await settle()
  expect(Math.max(...kept.delaysMs), 'timers of Node that are longer end at once').toBe(2 ** 31 - 1)
})

test('one model that cannot be reckoned keeps no other from being loaded unasked', async () => {
  await start(new ManualClock(), { models: { perModel: { a: { replicasMin: 1 }, b: { replicasMin: 1 } } } })
  node.failEstimatesOf('a')
  clock.advance(10_000)
  await settle()
  await settle()
  expect(node.starts.map(({ request }) => request.model)).toContain('b')
})

test('the list tells how many requests there are, not just that there are some', async () => {
  acquire('a')
  await settle()
  node.ready(0)
  await settle()
  pool.reportUse('a-1', 1)
  pool.reportUse('a-1', 3)
  expect((await pool.showModel('a')).inFlight).toBe(3)
  expect((await pool.explain('a')).summary).toContain('with 3 requests')
})
