import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ChatRequest } from '../../../src/contracts/openai/chat.ts'
import type { PoolClient, Replica } from '../../../src/contracts/pool.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { noMetrics } from '../../../src/core/metrics.ts'
import { noSpan } from '../../../src/core/tracing.ts'
import { chatExchange } from '../../../src/gateway/dispatch/chat-exchange.ts'
import { Dispatch } from '../../../src/gateway/dispatch/dispatch.ts'
import { EngineClients } from '../../../src/gateway/dispatch/engine-client.ts'
import { ClientRecipient } from '../../../src/gateway/dispatch/recipient.ts'
import { Router } from '../../../src/gateway/dispatch/router.ts'
import type { Settlement } from '../../../src/gateway/dispatch/settlement.ts'
import { UpstreamHealth } from '../../../src/gateway/dispatch/upstream-health.ts'
import { systemClock } from '../../../src/system.ts'
import { post, type RawAnswer } from '../../support/raw-client.ts'
import {
  chatAnswer,
  ScriptedUpstream,
  sendStream,
  sendWhole,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let upstream: ScriptedUpstream
let clients: EngineClients
let router: Router
let server: Server
let settlements: Settlement[]
/** What recording the cost of an answer does. */
let record: (settlement: Settlement) => void

beforeEach(async () => {
  settlements = []
  record = () => {}
  upstream = await ScriptedUpstream.start((call) => {
    if (JSON.parse(call.body).stream) void sendStream(call, wholeStream(3))
    else sendWhole(call, chatAnswer('hi'))
  })
  clients = new EngineClients()
  router = new Router({
    pool: poolOf(replicaAt(upstream.url)),
    clock: systemClock,
    metrics: noMetrics,
    fairness: 'tokens',
    queueMax: 1,
    queueTimeoutMs: 1_000,
    loadWaitMs: 1_000,
  })
  const limits = {
    firstByteTimeoutMs: 2_000,
    stallTimeoutMs: 2_000,
    requestDeadlineMs: 5_000,
    tracesUpstreams: false,
    waitNoticeMs: 1_000,
  }
  const dispatch = new Dispatch({
    router,
    upstreams: new UpstreamHealth(systemClock, noMetrics),
    clients,
    clock: systemClock,
    ...limits,
  })
  server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const exchange = chatExchange(ChatRequest.parse(JSON.parse(Buffer.concat(parts).toString('utf8'))))
    const settled = (settlement: Settlement) => {
      settlements.push(settlement)
      record(settlement)
    }
    dispatch
      .run(exchange, {
        tenant: 'proj_a',
        span: noSpan,
        begun: () => {},
        recipient: () => new ClientRecipient(response, () => ({})),
        settled,
      })
      .catch((reason: unknown) => {
        const error = HelixError.from(reason)
        response
          .writeHead(error.status, { 'content-type': 'application/json' })
          .end(JSON.stringify(error.toBody()))
      })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  router.stop()
  await clients.stop()
  await upstream.stop()
})

function replicaAt(url: string): Replica {
  const address = { url: url.replace(/\/v1$/, ''), socketPath: undefined, apiKey: undefined }
  const unknown = {
    contextLength: undefined,
    supportsTools: undefined,
    vocabularySize: undefined,
    continues: false,
  }
  return {
    id: 'far',
    model: 'far',
    engineModel: 'far',
    engine: 'upstream',
    address,
    slots: 4,
    ...unknown,
    revision: 'r1',
  }
}

/** A pool that has this replica and nothing to decide. */
function poolOf(replica: Replica): PoolClient {
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
    acquire: async () => {},
    explainWait: unused,
    watchReplicas: (listener) => {
      listener([replica])
      return () => {}
    },
    reportUse: () => {},
  }
}

function ask(change: object): Promise<RawAnswer> {
  const { port } = server.address() as AddressInfo
  const body = JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'Hello' }], ...change })
  return post(`http://127.0.0.1:${port}/`, { body })
}

const SHAPES = [{ stream: false }, { stream: true }, { n: 2 }]

test.each(SHAPES)('an answer to %j whose cost cannot be recorded is never completed', async (shape) => {
  record = ({ error }) => {
    if (!error) throw new HelixError('storage_unavailable', 'no room')
  }
  const { status, text, ended } = await ask(shape)
  expect(text).toContain('"code":"storage_unavailable"')
  if (shape.stream) {
    expect(ended).toBe('cut')
    expect(text).not.toContain('[DONE]')
  } else {
    expect(status).toBe(503)
    expect(text).not.toContain('choices')
  }
  expect(settlements.map(({ error }) => error?.code)).toEqual([undefined, 'storage_unavailable'])
  expect(settlements.every(({ worked }) => worked)).toBe(true)
})

test.each(SHAPES)('an answer to %j is told once, with what the engine counted', async (shape) => {
  const { status } = await ask(shape)
  expect(status).toBe(200)
  expect(settlements).toHaveLength(1)
  const completionTokens = shape.stream || shape.n ? 3 : 5
  expect(settlements[0]).toMatchObject({
    usage: { promptTokens: 3, completionTokens },
    estimated: false,
    worked: true,
    error: undefined,
  })
})
