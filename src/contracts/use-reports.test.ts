import { createClient, createRouterTransport } from '@connectrpc/connect'
import { expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { silentLog } from '../core/log.ts'
import { PoolService } from './gen/helixflow/v1/pool_pb.ts'
import type { Replica } from './pool.ts'
import { UseReports } from './use-reports.ts'

const REPLICA: Replica = {
  ...{ id: 'r', model: 'm', engineModel: 'm', engine: 'llama-server', slots: 1, contextLength: 64 },
  address: { url: 'http://localhost', socketPath: '/s', apiKey: undefined },
  ...{ supportsTools: false, continues: true, vocabularySize: 10, revision: 'r' },
}

test('a replica of which nothing is left to this gateway is given back, though the table shows it no more', async () => {
  const heard: (readonly [version: bigint, uses: readonly (readonly [string, bigint])[]])[] = []
  const transport = createRouterTransport((router) =>
    router.service(PoolService, {
      reportUse: ({ version, uses }) => {
        heard.push([version, uses.map(({ replicaId, inUse }) => [replicaId, inUse])])
        return {}
      },
    }),
  )
  const client = createClient(PoolService, transport)
  const clock = new ManualClock()
  let table: { readonly version: number; readonly replicas: readonly Replica[] }
  const reports = new UseReports({
    ...{ gateway: 'g', timeoutMs: 1_000, clock, log: silentLog },
    connection: { call: (work) => work(client, {}) },
    table: () => table,
  })
  const read = async (version: number, replicas: readonly Replica[]) => {
    table = { version, replicas }
    reports.confirm()
    const latest = () => {
      clock.advance(20)
      return heard.at(-1)?.[0]
    }
    await expect.poll(latest).toBe(BigInt(version))
  }
  await read(1, [REPLICA])
  await read(2, [])
  expect(heard).toEqual([
    [1n, [['r', 0n]]],
    [2n, [['r', 0n]]],
  ])
  reports.stop()
})
