import { afterEach, beforeEach, expect, test } from 'vitest'
import { ChatRequest } from '../../../src/contracts/openai/chat.ts'
import type { PoolClient, Replica, WaitView } from '../../../src/contracts/pool.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { noMetrics } from '../../../src/core/metrics.ts'
import { noSpan } from '../../../src/core/tracing.ts'
import { chatExchange } from '../../../src/gateway/dispatch/chat-exchange.ts'
import { Dispatch } from '../../../src/gateway/dispatch/dispatch.ts'
import { EngineClients } from '../../../src/gateway/dispatch/engine-client.ts'
import type { Recipient } from '../../../src/gateway/dispatch/recipient.ts'
import { Router } from '../../../src/gateway/dispatch/router.ts'
import type { Settlement } from '../../../src/gateway/dispatch/settlement.ts'
import { UpstreamHealth } from '../../../src/gateway/dispatch/upstream-health.ts'
import { systemClock } from '../../../src/system.ts'
import {
  chatAnswer,
  ScriptedUpstream,
  sendWhole,
  type UpstreamCall,
} from '../../support/scripted-upstream.ts'

let engines: ScriptedUpstream[]
let clients: EngineClients
let router: Router
let dispatch: Dispatch
/** The last message of every request that reached an engine, in that order. */
let reached: string[]

beforeEach(async () => {
  reached = []
  engines = await Promise.all([ScriptedUpstream.start(answer), ScriptedUpstream.start(answer)])
  clients = new EngineClients()
})
afterEach(async () => {
  await dispatch.stop()
  router.stop()
  await clients.stop()
  await Promise.all(engines.map((engine) => engine.stop()))
})

function answer(call: UpstreamCall): void {
  reached.push(lastMessage(call))
  // Later than whatever is to be asked beside it.
  setTimeout(() => sendWhole(call, chatAnswer('hi')), 5)
}

function lastMessage({ body }: UpstreamCall): string {
  const { messages } = JSON.parse(body) as { messages: readonly { content: string }[] }
  return messages.at(-1)?.content ?? ''
}

function start(slots: number, fairness: 'tokens' | 'arrival' = 'tokens'): void {
  startWith(poolOf(engines.map(({ url }, at) => replicaAt(`engine-${at}`, url, slots))), fairness)
}

function startWith(pool: PoolClient, fairness: 'tokens' | 'arrival' = 'tokens', waitNoticeMs = 10_000): void {
  router = new Router({
    pool,
    clock: systemClock,
    metrics: noMetrics,
    fairness,
    queueMax: 1_000,
    queueTimeoutMs: 30_000,
    loadWaitMs: 1_000,
  })
  const upstreams = new UpstreamHealth(systemClock, noMetrics)
  const limits = { firstByteTimeoutMs: 30_000, stallTimeoutMs: 30_000, waitNoticeMs, tracesUpstreams: false }
  dispatch = new Dispatch({
    router,
    upstreams,
    clients,
    clock: systemClock,
    ...limits,
    requestDeadlineMs: 30_000,
  })
}

function replicaAt(id: string, url: string, slots: number): Replica {
  return {
    id,
    model: 'far',
    engineModel: 'far',
    engine: 'upstream',
    address: { url: url.replace(/\/v1$/, ''), socketPath: undefined, apiKey: undefined },
    slots,
    contextLength: 32_768,
    supportsTools: undefined,
    continues: false,
    vocabularySize: undefined,
    revision: 'r1',
  }
}

/** A pool that has these replicas and nothing to decide. */
function poolOf(replicas: readonly Replica[]): PoolClient {
  const unused = () => expect.unreachable('nothing asks this')
  return {
    listModels: unused,
    showModel: unused,
    revision: unused,
    load: unused,
    unload: unused,
    explain: unused,
    listDevices: unused,
    planMoves: unused,
    journal: unused,
    defragment: unused,
    reportDemand: () => {},
    unavailability: unused,
    acquire: unused,
    explainWait: unused,
    watchReplicas: (listener) => {
      listener(replicas)
      return () => {}
    },
    reportUse: () => {},
  }
}

async function ask(
  tenant: string,
  messages: readonly { role: string; content: string }[],
): Promise<Settlement> {
  const exchange = chatExchange(ChatRequest.parse({ model: 'far', messages }))
  let settlement: Settlement | undefined
  const settled = (told: Settlement) => {
    settlement = told
  }
  await dispatch.send(exchange, nobody, { tenant, span: noSpan, begun: () => {}, settled })
  if (!settlement) return expect.unreachable('it was not settled')
  return settlement
}

const say = (tenant: string, content: string) => ask(tenant, [{ role: 'user', content }])

/** Takes an answer and does nothing with it. */
const nobody: Recipient = {
  gone: false,
  committed: false,
  whenGone: () => () => {},
  whole: () => {},
  write: () => true,
  drained: () => {},
  comment: () => {},
  end: () => {},
  fail: () => {},
  leave: () => {},
}

/** How many of the flood reach an engine between a calm request's asking and its turn, at most. */
async function overtaken(): Promise<number> {
  const flood = Array.from({ length: 80 }, (_, at) => say('proj_flood', `flood ${at}`))
  const found: number[] = []
  for (let turn = 0; turn < 5; turn++) {
    const before = reached.length
    await say('proj_calm', `calm ${turn}`)
    found.push(reached.indexOf(`calm ${turn}`) - before)
  }
  await Promise.all(flood)
  expect(reached).toHaveLength(85)
  return Math.max(...found)
}

test('a project that floods two engines does not hold up another beyond what is at work', async () => {
  start(1)
  // Two that are at work already, and one that was about to be.
  expect(await overtaken()).toBeLessThanOrEqual(3)
})

test('by arrival it does', async () => {
  start(1, 'arrival')
  expect(await overtaken()).toBeGreaterThan(50)
})

test('every conversation stays with the engine that it began at, and both have some', async () => {
  start(8)
  const homes = new Map<number, Set<string>>()
  const talk = async (who: number) => {
    const seen = new Set<string>()
    homes.set(who, seen)
    const messages = [{ role: 'system', content: 'Be brief. '.repeat(60) }]
    for (let turn = 0; turn < 4; turn++) {
      messages.push({ role: 'user', content: `conversation ${who}, turn ${turn}: ${'word '.repeat(300)}` })
      const { served } = await ask('proj_a', messages)
      seen.add(served?.replica ?? '')
      if (turn > 0) expect(served?.route).toBe('prefix')
      messages.push({ role: 'assistant', content: 'hi' })
    }
  }
  await Promise.all(Array.from({ length: 6 }, (_, who) => talk(who)))
  expect([...homes.values()].map(({ size }) => size)).toEqual([1, 1, 1, 1, 1, 1])
  const used = [...homes.values()].flatMap((seen) => [...seen])
  expect(new Set(used)).toEqual(new Set(['engine-0', 'engine-1']))
})

test.each(['llama-server', 'vllm', 'sglang'] as const)(
  'a %s that died is passed over until the pool has another',
  async (engine) => {
    const [dead, alive] = engines.map(({ url }, at) => ({ ...replicaAt(`engine-${at}`, url, 1), engine }))
    if (!dead || !alive) return expect.unreachable('there are two engines')
    await engines[0]?.stop()
    let publish: (replicas: readonly Replica[]) => void = () => {}
    startWith({
      ...poolOf([]),
      watchReplicas: (listener) => {
        publish = listener
        listener([dead])
        return () => {}
      },
      acquire: async () => publish([alive]),
    })
    expect((await say('proj_a', 'hello')).served?.replica).toBe('engine-1')
  },
)

test('a stream whose wait is over is not told what it waits for, however late the pool says it', async () => {
  let refuse: (reason: HelixError) => void = () => {}
  let explain: (view: WaitView) => void = () => {}
  const refused = new HelixError('insufficient_memory', 'no room')
  startWith(
    {
      ...poolOf([]),
      acquire: () => new Promise((_, reject) => (refuse = reject)),
      explainWait: () => {
        refuse(refused)
        return new Promise((resolve) => (explain = resolve))
      },
    },
    'tokens',
    10,
  )
  const comments: string[] = []
  const recipient: Recipient = { ...nobody, comment: (text) => void comments.push(text) }
  const messages = [{ role: 'user', content: 'hello' }]
  const exchange = chatExchange(ChatRequest.parse({ model: 'far', messages, stream: true }))
  const asker = { tenant: 'proj_a', span: noSpan, begun: () => {}, settled: () => {} }
  await expect(dispatch.send(exchange, recipient, asker)).rejects.toThrow('no room')
  explain({ code: 'model_loading', reason: 'loading far', remainingMs: undefined })
  await new Promise(setImmediate)
  expect(comments).toEqual([])
})
