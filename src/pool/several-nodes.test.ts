import { beforeEach, expect, test } from 'vitest'
import { deviceReport, file, HandNode } from '../../test/support/hand-node.ts'
import { HandNodes } from '../../test/support/hand-nodes.ts'
import { parseConfig } from '../config/schema.ts'
import type { Replica } from '../contracts/pool.ts'
import { ManualClock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { silentLog } from '../core/log.ts'
import { noMetrics } from '../core/metrics.ts'
import { replay } from './journal.ts'
import type { PoolService } from './service.ts'
import { policyOf, startPool } from './start.ts'

const MIB = 2 ** 20
const config = parseConfig({ scheduler: { strategy: 'first-fit', residencyMin: '0s', swapWait: '0s' } })
const never = new AbortController().signal
const settle = () => new Promise((resolve) => setImmediate(resolve))

let nodes: HandNodes
let one: HandNode
let two: HandNode
let pool: PoolService
let leave: () => void
let replicas: readonly Replica[]
let clock: ManualClock

beforeEach(async () => {
  nodes = new HandNodes()
  one = new HandNode('one', [deviceReport('one/cpu', 100 * MIB)])
  two = new HandNode('two', [deviceReport('two/cpu', 100 * MIB)])
  nodes.join(one)
  nodes.join(two)
  clock = new ManualClock()
  const parts = { nodes, clock, log: silentLog, metrics: noMetrics }
  const running = await startPool({ config, ...parts })
  pool = running.pool
  leave = () => running.leave()
  pool.watchReplicas((table) => {
    replicas = table
  })
})

async function load(model: string, node: HandNode): Promise<void> {
  const acquired = pool.acquire(model, never)
  await settle()
  const started = node.starts.length - 1
  node.ready(started)
  await acquired
  // What has served nobody yet is kept for those who asked for it.
  const id = node.starts[started]?.request.instanceId ?? ''
  pool.reportUse(id, 1)
  pool.reportUse(id, 0)
}

test('models go to whichever node has room, and each engine is started on its own node', async () => {
  await load('a', one)
  await load('b', two)
  expect(one.starts.map(({ request }) => request.shares)).toEqual([
    [{ deviceId: 'one/cpu', bytes: 60 * MIB }],
  ])
  expect(two.starts.map(({ request }) => request.model)).toEqual(['b'])
  expect(replicas.map(({ model }) => model)).toEqual(['a', 'b'])
})

test('a lost node takes its replicas out of the table, and what was in use is loaded on another', async () => {
  await load('a', one)
  pool.reportUse('a-1', 1)
  nodes.lose('one')
  await settle()
  expect(replicas).toEqual([])
  expect(two.starts.map(({ request }) => request.model)).toEqual(['a'])
})

test('a node that returns brings its engines back, except those of a shape that is not wanted any more', async () => {
  await load('a', one)
  const [started] = one.starts
  nodes.lose('one')
  await settle()
  const request = started?.request
  if (!request) throw new Error('nothing was started')
  const engine = {
    ...{ engine: 'llama-server' as const, shares: undefined, contextLength: 64, supportsTools: false },
    ...{ vocabularySize: 10, revision: 'r1', address: { url: 'http://x', socketPath: '/s', apiKey: 'k' } },
  }
  const other = { ...request, instanceId: 'a-99', shape: { ...request.shape, slots: 1 } }
  one.running = [
    { request, engine },
    { request: other, engine },
  ]
  nodes.join(one)
  await settle()
  await settle()
  await settle()
  expect(replicas.map(({ id }) => id)).toContain('a-1')
  expect(one.stopped).toEqual(['a-99'])
})

test('an engine whose need cannot be reckoned keeps no other from being taken up, and is tried again', async () => {
  await load('a', one)
  const [started] = one.starts
  nodes.lose('one')
  await settle()
  if (!started) return expect.unreachable()
  const { request } = started
  const engine = one.engineOf()
  one.running = [
    { request: { ...request, instanceId: 'b-98', model: 'b' }, engine },
    { request, engine },
  ]
  one.failEstimatesOf('b')
  two.failEstimatesOf('b')
  nodes.join(one)
  for (let turn = 0; turn < 5; turn++) await settle()
  expect(replicas.map(({ id }) => id)).toEqual(['a-1'])
  one.mendEstimatesOf('b')
  two.mendEstimatesOf('b')
  clock.advance(10_000)
  for (let turn = 0; turn < 5; turn++) await settle()
  expect(replicas.map(({ id }) => id).sort()).toEqual(['a-1', 'b-98'])
})

test('a model of one name and another content is another model, and is not started there', async () => {
  two.files = [{ ...file('a'), sizeBytes: 2 }]
  await load('b', one)
  const acquired = pool.acquire('a', never)
  await settle()
  expect(two.starts).toEqual([])
  expect(one.stopped).toEqual(['b-1'])
  one.ready(1)
  await acquired
})

test('a device that is lost gives its models to others', async () => {
  await load('a', one)
  pool.reportUse('a-1', 1)
  one.changeDevices([deviceReport('one/cpu', 100 * MIB, { health: 'lost', reason: 'fell off the bus' })])
  await settle()
  expect(one.stopped).toEqual(['a-1'])
  expect(two.starts.map(({ request }) => request.model)).toEqual(['a'])
  const [device] = await pool.listDevices()
  expect(device).toMatchObject({ id: 'one/cpu', health: 'lost', reason: 'fell off the bus' })
})

test('explains with numbers where a model would go, and what was decided about it', async () => {
  await load('a', one)
  const explanation = await pool.explain('a')
  expect(explanation.summary).toContain('a-1 is ready on one/cpu')
  expect(explanation.summary).toContain('the next instance would go to two/cpu')
  expect(explanation.decisions[0]).toMatchObject({ kind: 'placed', instance: 'a-1' })
  await load('b', two)
  expect((await pool.explain('b')).summary).toMatch(/needs 60 MiB: a-1 would be unloaded/)
  expect(await pool.planMoves('b')).toMatchObject({ moves: [] })
})

test('the journal alone gives the state', async () => {
  await load('a', one)
  await load('b', two)
  nodes.lose('one')
  clock.advance(60_000)
  await settle()
  const journal = await pool.journal()
  expect(journal.events.length).toBeGreaterThan(5)
  const replayed = replay(journal, policyOf(config))
  expect(replayed.instances.map(({ id, state }) => [id, state])).toEqual([['b-2', 'ready']])
})

test('a model that loads on a node which is lost is loaded on another, and whoever waits goes on waiting', async () => {
  const acquired = pool.acquire('a', never)
  await settle()
  nodes.lose('one')
  one.gone(0, 'killed')
  await settle()
  two.ready(0)
  await expect(acquired).resolves.toBeUndefined()
})

test('a node that is lost while it is asked what it has leaves nothing behind', async () => {
  await load('a', one)
  const request = one.starts[0]?.request
  const third = new HandNode('three', [deviceReport('three/cpu', 100 * MIB)])
  const engine = {
    ...{ engine: 'llama-server' as const, shares: undefined, contextLength: 64, supportsTools: false },
    ...{ vocabularySize: 10, revision: 'r1', address: { url: 'http://x', socketPath: '/s', apiKey: 'k' } },
  }
  if (request) third.running = [{ request: { ...request, instanceId: 'a-77' }, engine }]
  const reckoned = one.holdEstimates()
  nodes.join(third)
  await settle()
  nodes.lose('three')
  reckoned()
  await settle()
  expect(replicas.map(({ id }) => id)).toEqual(['a-1'])
  nodes.join(third)
  nodes.lose('three')
  await settle()
  expect((await pool.listDevices()).map(({ node }) => node)).toEqual(['one', 'two'])
})

test('who waits for a model goes on waiting when its node is lost while it loads, and gets it elsewhere', async () => {
  const acquired = pool.acquire('a', never)
  await settle()
  nodes.lose('one')
  one.unreachable(0)
  await settle()
  expect(two.starts.map(({ request }) => request.model)).toEqual(['a'])
  two.ready(0)
  await acquired
})

test('a node that goes while its engines are looked at leaves none of them behind', async () => {
  await load('a', one)
  const running = { request: one.starts[0]?.request, engine: one.engineOf() }
  nodes.lose('one')
  if (!running.request) throw new Error('nothing was started')
  one.running = [{ ...running, request: running.request }]
  let answer = () => {}
  two.listModels = () =>
    new Promise((resolve) => {
      answer = () => resolve(two.files)
    })
  nodes.join(one)
  await settle()
  nodes.lose('one')
  answer()
  await settle()
  expect(replicas).toEqual([])
  expect(replay(await pool.journal(), policyOf(config)).instances).toEqual([])
})

test('a node that does not answer when it joins is asked again, and its engines are used then', async () => {
  await load('a', one)
  const request = one.starts[0]?.request
  nodes.lose('one')
  if (!request) throw new Error('nothing was started')
  one.running = [{ request, engine: one.engineOf() }]
  const { engines } = one
  one.engines = () => Promise.reject(new Error('reset'))
  nodes.join(one)
  await settle()
  expect(replicas).toEqual([])
  one.engines = engines
  clock.advance(1_000)
  await settle()
  expect(replicas.map(({ id }) => id)).toEqual(['a-1'])
})

test('engines of a node that does not say which files it has are not ended for that', async () => {
  await load('a', one)
  const request = one.starts[0]?.request
  nodes.lose('one')
  nodes.lose('two')
  if (!request) throw new Error('nothing was started')
  one.running = [{ request, engine: one.engineOf() }]
  const { listModels } = one
  one.listModels = () => Promise.reject(new Error('timeout'))
  nodes.join(one)
  await settle()
  expect(one.stopped).toEqual([])
  one.listModels = listModels
  clock.advance(1_000)
  await settle()
  expect(replicas.map(({ id }) => id)).toEqual(['a-1'])
})

test('an engine whose start was not heard to the end is ended, and counts until then', async () => {
  const acquired = pool.acquire('a', never)
  await settle()
  one.stop = () => Promise.reject(new HelixError('node_unavailable', 'It cannot be reached.'))
  one.unreachable(0)
  await settle()
  expect(replay(await pool.journal(), policyOf(config)).instances).toMatchObject([{ id: 'a-1' }])
  expect([...one.starts, ...two.starts]).toHaveLength(1)
  const stopped: string[] = []
  one.stop = async (instanceId) => void stopped.push(instanceId)
  clock.advance(1_000)
  await settle()
  expect(stopped).toEqual(['a-1'])
  one.ready(1)
  await acquired
})

test('a pool that leaves its nodes to another one decides nothing more, whatever ends with that', async () => {
  const acquired = pool.acquire('a', never)
  await settle()
  leave()
  nodes.forget()
  one.unreachable(0)
  await expect(acquired).rejects.toMatchObject({ code: 'server_draining' })
  await settle()
  expect(one.starts).toHaveLength(1)
  expect(one.stopped).toEqual([])
})
