import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Config } from '../../../src/config/schema.ts'
import type { DeviceReport, EngineExit, NodeClient, StartOutcome } from '../../../src/contracts/node.ts'
import { NodeRpcClient } from '../../../src/contracts/node-rpc-client.ts'
import type { EngineAddress } from '../../../src/contracts/pool.ts'
import { type RpcServer, serveRpc } from '../../../src/contracts/rpc-server.ts'
import { inMemory, overTls, type TlsFiles } from '../../../src/contracts/rpc-transport.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import { writeTinyModel } from '../../../src/engines/gguf/tiny-model.ts'
import { ModelStore } from '../../../src/engines/model-store.ts'
import { EngineClients } from '../../../src/gateway/dispatch/engine-client.ts'
import { Fence } from '../../../src/node/fence.ts'
import { Relay } from '../../../src/node/relay.ts'
import { nodeRoutes } from '../../../src/node/rpc.ts'
import type { NodeService } from '../../../src/node/service.ts'
import { startNode } from '../../../src/node/start.ts'
import { systemClock } from '../../../src/system.ts'
import { makeCertificates } from '../../support/certificates.ts'
import { testEngine } from '../../support/engine.ts'
import { sourceSettings } from '../../support/model-sources.ts'
import { processesWith } from '../../support/processes.ts'

const noManaged = async () => {
  throw new HelixError('engine_missing', 'There is none.')
}

const shape = { slots: 1, contextLength: 256, chatTemplate: undefined, engine: undefined }

let root: string
let tls: TlsFiles
let node: NodeService
let relay: Relay
let server: RpcServer
let memory: ReturnType<typeof inMemory>
const fence = new Fence()

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'hf-'))
  tls = await makeCertificates()
  await testEngine()
  const store = await ModelStore.open({
    ...{ directory: join(root, 'models'), clock: systemClock, log: silentLog },
    sources: sourceSettings({}),
  })
  await writeTinyModel(join(root, 'models', 'tiny.gguf'), { seed: 7 })
  node = startNode({
    ...{
      config: Config.parse({ engines: { memoryLimit: '4GiB', threads: 1 } }).engines,
      perModel: {},
      store,
    },
    ...{ nodeId: 'node-a', llamaServer: testEngine, managed: noManaged, cacheDirectory: join(root, 'cache') },
    ...{ clock: systemClock, log: silentLog, socketDirectory: join(root, 's') },
    footprintsPath: join(root, 'footprints.json'),
  })
  relay = await Relay.start({ host: '127.0.0.1', port: 0, tls, publicHost: 'localhost', log: silentLog })
  const parts = { node, fence, log: silentLog }
  const open = { publish: (_: string, address: EngineAddress) => address, revoke: () => {} }
  memory = inMemory(nodeRoutes({ ...parts, door: open }))
  const routes = nodeRoutes({ ...parts, door: relay })
  server = await serveRpc({ host: '127.0.0.1', port: 0, tls, routes })
})
afterAll(async () => {
  await server?.stop()
  await relay?.stop()
  await node?.close()
  rmSync(root, { recursive: true })
  rmSync(dirname(tls.key), { recursive: true })
})

function clientOver(transport: ReturnType<typeof inMemory>, epoch: number): NodeRpcClient {
  const client = new NodeRpcClient({
    ...{ nodeId: 'node-a', transport, epoch, timeoutMs: 5_000, clock: systemClock, log: silentLog },
  })
  onTestFinished(() => client.close())
  return client
}

/** What of a device is the same a moment later. */
function lasting({ id, kind, name, totalBytes, health, clique }: DeviceReport) {
  return { id, kind, name, totalBytes, health, clique }
}

function startTiny(client: NodeClient, instanceId: string): Promise<StartOutcome> {
  const shares = [{ deviceId: 'node-a/cpu', bytes: 2 ** 28 }]
  return client.start({ instanceId, model: 'tiny', shape, shares })
}

async function tokensOf(address: EngineAddress): Promise<number> {
  const clients = new EngineClients(tls)
  const facts = {
    contextLength: 256,
    supportsTools: false,
    continues: true,
    vocabularySize: 1,
    revision: 'r',
  }
  const names = { id: 'r', model: 'tiny', engineModel: 'tiny', engine: 'llama-server' as const, slots: 1 }
  const { dispatcher, origin, headers } = clients.get({ ...names, ...facts, address })
  const { body } = await dispatcher.request({
    ...{ origin, path: '/v1/completions', method: 'POST', headers },
    body: JSON.stringify({ model: 'tiny', prompt: 'Hello', max_tokens: 3 }),
  })
  const { usage } = (await body.json()) as { usage: { completion_tokens: number } }
  await clients.stop()
  return usage.completion_tokens
}

const ways: readonly (readonly [string, () => NodeClient])[] = [
  ['itself', () => node],
  ['over RPC in memory', () => clientOver(memory, 1)],
  ['over RPC with mutual TLS', () => clientOver(overTls(server.url, tls), 1)],
]

describe.each(ways)('a node %s', (_name, open) => {
  test('says what it is and what it has', async () => {
    const client = open()
    expect(client.nodeId).toBe('node-a')
    expect((await client.devices()).map(lasting)).toEqual((await node.devices()).map(lasting))
    expect(await client.listModels()).toEqual(await node.listModels())
    expect(await client.estimate('tiny', shape)).toEqual(await node.estimate('tiny', shape))
    await client.cacheFile('tiny')
    const told = new Promise<readonly DeviceReport[]>((resolve) => client.watchDevices(resolve))
    expect((await told).map(lasting)).toEqual((await node.devices()).map(lasting))
    await expect.poll(() => client.engineProblem()).toBeUndefined()
  })

  test('starts an engine that answers, shows it to whoever comes later, and stops it', async () => {
    const client = open()
    const outcome = await startTiny(client, 'i1')
    if (outcome.kind !== 'ready') throw outcome.error
    const { address, ...facts } = outcome.engine
    expect(facts).toMatchObject({ engine: 'llama-server', contextLength: 256, vocabularySize: 1_000 })
    expect(await tokensOf(address)).toBe(3)
    expect(await client.engines()).toEqual([
      {
        request: expect.objectContaining({ instanceId: 'i1', model: 'tiny', shape }),
        engine: outcome.engine,
      },
    ])
    await client.stop('i1')
    expect(await client.engines()).toEqual([])
    expect(processesWith(root)).toEqual([])
  })

  test('fails with the same code and text as the node itself', async () => {
    const client = open()
    const codeOf = (one: NodeClient) => one.estimate('absent', shape).catch((reason) => reason.toBody())
    expect(await codeOf(client)).toEqual(await codeOf(node))
    const request = { instanceId: 'i2', model: 'absent', shape, shares: [] }
    const [told, own] = await Promise.all([
      client.start(request),
      node.start({ ...request, instanceId: 'i3' }),
    ])
    expect([told, own]).toMatchObject([
      { kind: 'gone', why: 'failed', error: { code: 'model_not_found' } },
      { kind: 'gone', why: 'failed', error: { code: 'model_not_found' } },
    ])
  })

  test('tells of an engine that ends by itself', async () => {
    const client = open()
    const exits: EngineExit[] = []
    client.watchExits((exit) => exits.push(exit))
    await startTiny(client, 'i4')
    const [pid] = processesWith(root)
    process.kill(pid ?? 0, 'SIGKILL')
    await expect.poll(() => exits).toMatchObject([{ instanceId: 'i4', why: 'killed' }])
  })

  test('keeps a model in quarantine until it is released', async () => {
    const client = open()
    await client.quarantine('tiny', 'it crashed')
    expect((await client.listModels())[0]?.quarantinedBecause).toBe('it crashed')
    await client.release('tiny')
    expect((await client.listModels())[0]?.quarantinedBecause).toBeUndefined()
  })
})

describe('a node of another machine', () => {
  test('ends an engine whose pool left before it was ready', async () => {
    const client = clientOver(overTls(server.url, tls), 1)
    const outcome = startTiny(client, 'i5')
    await expect.poll(() => processesWith(root)).toHaveLength(1)
    await client.close()
    expect(await outcome).toMatchObject({ kind: 'gone', why: 'killed', error: { code: 'node_unavailable' } })
    await expect.poll(() => processesWith(root)).toEqual([])
  })

  test('shows the engines of nobody to a stranger who has no address of the relay', async () => {
    const client = clientOver(overTls(server.url, tls), 1)
    const outcome = await startTiny(client, 'i6')
    if (outcome.kind !== 'ready') throw outcome.error
    expect(outcome.engine.address).toMatchObject({ socketPath: undefined, serverName: expect.any(String) })
    await client.stop('i6')
    await expect(tokensOf(outcome.engine.address)).rejects.toThrow()
  })

  test('obeys the latest leader and refuses those before it, whatever they want', async () => {
    const old = clientOver(overTls(server.url, tls), 1)
    const heard: EngineExit[] = []
    old.watchExits((exit) => heard.push(exit))
    const starting = startTiny(old, 'i7')
    await expect.poll(() => processesWith(root)).toHaveLength(1)
    const next = clientOver(overTls(server.url, tls), 2)
    expect(await next.engines()).toEqual([])
    expect(await starting).toMatchObject({ kind: 'gone', why: 'stopped' })
    expect(await startTiny(old, 'i8')).toMatchObject({ kind: 'gone', error: { code: 'not_leader' } })
    for (const refused of [
      old.stop('i9'),
      old.engines(),
      old.quarantine('tiny', 'x'),
      old.cacheFile('tiny'),
    ]) {
      await expect(refused).rejects.toMatchObject({ code: 'not_leader' })
    }
    expect((await startTiny(next, 'i9')).kind).toBe('ready')
    await next.stop('i9')
    expect(heard).toEqual([])
  })

  test('that cannot be reached is told as such', async () => {
    const client = clientOver(overTls('https://127.0.0.1:9', tls), 1)
    await expect(client.devices()).rejects.toMatchObject({ code: 'node_unavailable' })
    expect(await startTiny(client, 'x')).toMatchObject({ kind: 'gone', why: 'killed' })
  })
})
