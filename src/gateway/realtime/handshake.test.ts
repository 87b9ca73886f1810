import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { parseConfig } from '../../config/schema.ts'
import type { Identity } from '../../contracts/auth.ts'
import { silentLog } from '../../core/log.ts'
import { noMetrics } from '../../core/metrics.ts'
import { systemClock, systemRandom } from '../../system.ts'
import { Drain } from '../drain.ts'
import { requireAccess } from '../hooks/access.ts'
import { Connections } from './connections.ts'
import { Handshake } from './handshake.ts'
import type { Speaker } from './speaker.ts'
import { acceptUpgrades } from './upgrades.ts'

test('whoever was identified only when the gateway had begun to leave is not let in', async () => {
  const { realtime: settings } = parseConfig({})
  const drain = new Drain()
  const common = { clock: systemClock, random: systemRandom, metrics: noMetrics, log: silentLog }
  const connections = new Connections({ ...common, times: settings, streaming: () => 0 })
  const handshake = new Handshake(connections, settings, drain)
  const app = Fastify({ forceCloseConnections: true })
  onTestFinished(async () => {
    await connections.stop()
    await app.close()
  })
  requireAccess(app)
  app.decorateRequest('identity', undefined)
  app.addHook('onRequest', async (request) => {
    drain.draining = true
    request.identity = { keyId: 'k', organisationId: 'o' } as Identity
  })
  acceptUpgrades(app)
  const speaker = { closed: () => {}, streams: 0, leaving: () => {} } as Partial<Speaker> as Speaker
  const terms = { subprotocol: 'ignored', speaker: () => speaker } as const
  app.get('/ws', { config: { access: 'public', upgrade: true } }, handshake.route(terms))
  await app.listen({ port: 0 })
  const ws = new WebSocket(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/ws`)
  ws.on('error', () => {})
  const answered = new Promise((resolve) => {
    ws.once('open', () => resolve(101))
    ws.once('unexpected-response', (_request, { statusCode }) => resolve(statusCode))
  })
  expect(await answered).toBe(503)
  expect(connections.size).toBe(0)
})
