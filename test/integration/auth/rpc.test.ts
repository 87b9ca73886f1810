import { rm } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { dirname, join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authRoutes } from '../../../src/auth/rpc.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { callOperation } from '../../../src/contracts/administration/call.ts'
import { DEFAULT_ORGANISATION } from '../../../src/contracts/auth.ts'
import { AuthRpcClient } from '../../../src/contracts/auth-rpc-client.ts'
import { type RpcServer, serveRpc } from '../../../src/contracts/rpc-server.ts'
import { inMemory, overTls, type TlsFiles, tlsOptions } from '../../../src/contracts/rpc-transport.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { makeCertificates } from '../../support/certificates.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const

let place: DatabasePlace
let postgres: EmbeddedPostgres
let running: RunningAuth
let server: RpcServer
let tls: TlsFiles
let strangers: TlsFiles
beforeAll(async () => {
  ;[place, tls, strangers] = await Promise.all([
    DatabasePlace.withDatabase(),
    makeCertificates(),
    makeCertificates(),
  ])
  postgres = await place.start()
  running = await startAuth({
    connection: postgres.connection,
    pepperFile: join(place.root, 'pepper'),
    config: authSettings,
    usageRetentionMs: 400 * 86_400_000,
    acquireTimeoutMs: 5_000,
    queryTimeoutMs: 5_000,
    responsesRetentionMs: 30 * 86_400_000,
    kpis: noKpis,
    log: silentLog,
    clock: systemClock,
  })
  server = await serve(0)
})
afterAll(async () => {
  await server?.stop()
  await running?.stop()
  await postgres?.stop()
  await place?.remove()
  for (const { key } of [tls, strangers]) await rm(dirname(key), { recursive: true })
})

function serve(port: number): Promise<RpcServer> {
  return serveRpc({ host: '127.0.0.1', port, tls, routes: authRoutes({ ...running, log: silentLog }) })
}

function clientOver(transport: ReturnType<typeof overTls>) {
  return new AuthRpcClient({ transport, timeoutMs: 5_000, clock: systemClock, log: silentLog })
}

const ways = [
  ['in memory', () => clientOver(inMemory(authRoutes({ ...running, log: silentLog })))],
  ['over mutual TLS', () => clientOver(overTls(server.url, tls))],
] as const

describe.each(ways)('the auth service %s', (_name, open) => {
  test('says the same as the service itself', async () => {
    const client = open()
    const input = {
      name: 'k',
      models: ['a', 'b'],
      ipRules: ['10.0.0.0/8'],
      expiresAt: '2096-10-02T07:06:40Z',
    }
    const key = await callOperation(client, operator, 'keys.create', input)
    expect(await client.verify(key.plaintext)).toEqual(await running.auth.verify(key.plaintext))
    const plain = await callOperation(client, operator, 'keys.create', { name: 'plain' })
    expect(await client.verify(plain.plaintext)).toEqual(await running.auth.verify(plain.plaintext))
    expect(await client.problem()).toBeUndefined()
    await client.stop()
  })

  test('fails with the same code, text and parameter', async () => {
    const client = open()
    const calls = [
      { operation: 'keys.show', input: { id: 'nothing' } },
      { operation: 'keys.create', input: { name: '' } },
      { operation: 'keys.create', input: { name: 'x', colour: 'red' } },
      { operation: 'no.such', input: {} },
    ]
    for (const one of calls) {
      const [told, own] = await Promise.all(
        [client, running.auth].map((auth) =>
          auth.administer({ caller: operator, ...one }).catch((reason: unknown) => reason),
        ),
      )
      expect(told).toBeInstanceOf(HelixError)
      expect((told as HelixError).toBody()).toEqual((own as HelixError).toBody())
    }
    await expect(client.verify('hf_live_x')).rejects.toMatchObject({ code: 'invalid_api_key', status: 401 })
    await client.stop()
  })

  test('tells of a revocation within a second', async () => {
    const client = open()
    const heard: (string | undefined)[] = []
    client.watchRevocations((subject) => heard.push(subject))
    await expect.poll(() => heard).toEqual([undefined])
    const { id } = await callOperation(client, operator, 'keys.create', { name: 'short-lived' })
    await callOperation(client, operator, 'keys.revoke', { id })
    await expect.poll(() => heard, { timeout: 1_000 }).toEqual([undefined, id])
    await client.stop()
  })
})

describe('apart', () => {
  test('a service that goes and comes back is found again, and everything cached is called in question', async () => {
    const client = clientOver(overTls(server.url, tls))
    const heard: (string | undefined)[] = []
    client.watchRevocations((subject) => heard.push(subject))
    await expect.poll(() => heard).toEqual([undefined])
    const { plaintext } = await callOperation(client, operator, 'keys.create', { name: 'k' })
    const port = Number(new URL(server.url).port)
    await server.stop()
    await expect(client.verify(plaintext)).rejects.toMatchObject({ code: 'storage_unavailable', status: 503 })
    server = await serve(port)
    await expect.poll(() => heard, { timeout: 5_000 }).toEqual([undefined, undefined])
    await expect(client.verify(plaintext)).resolves.toMatchObject({ organisationId: DEFAULT_ORGANISATION })
    await client.stop()
  })

  test('nobody without a certificate of the authority gets in, nor one with an older TLS', async () => {
    const stranger = clientOver(overTls(server.url, strangers))
    await expect(stranger.verify('x')).rejects.toMatchObject({ code: 'storage_unavailable' })
    await stranger.stop()

    const { ca } = tlsOptions(tls)
    const bare = connectHttp2(server.url, { ca })
    const refused = await new Promise<Error>((resolve) => {
      bare.once('error', resolve)
      bare.request({ ':path': '/' }).once('error', resolve)
    })
    expect(String(refused)).toMatch(/certificate required|closed|reset/i)
    bare.destroy()

    const { hostname, port } = new URL(server.url)
    const { cert, key } = tlsOptions(tls)
    const old = connectTls({ host: hostname, port: Number(port), ca, cert, key, maxVersion: 'TLSv1.2' })
    const alert = await new Promise<Error>((resolve) => old.once('error', resolve))
    expect(String(alert)).toMatch(/protocol version/i)
  })
})
