import { chmodSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import type { Config } from '../config/schema.ts'
import type { AuthClient } from '../contracts/auth.ts'
import type { PoolClient } from '../contracts/pool.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import { buildApp } from './app.ts'
import { buildControlApp } from './control/app.ts'
import { CredentialCache } from './credential-cache.ts'
import { Dispatch } from './dispatch/dispatch.ts'
import { EngineClients } from './dispatch/engine-client.ts'
import { EventStream } from './dispatch/event-stream.ts'
import { Router } from './dispatch/router.ts'
import { Drain } from './drain.ts'

export interface GatewayParts {
  readonly config: Config['gateway']
  readonly auth: AuthClient
  readonly pool: PoolClient
  readonly databaseProblem: () => Promise<HelixError | undefined>
  /** Path of the Unix socket for administration. */
  readonly controlSocket: string
  readonly status: () => Promise<object>
  readonly instance: string
  readonly version: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** One line per request. */
  readonly accessLog: Logger
}

export interface Gateway {
  /** Where it listens: `http://127.0.0.1:8443`. */
  readonly url: string
  /** Refuses new requests, lets running ones finish within the grace time, then closes. */
  stop(): Promise<void>
}

const KEEP_ALIVE_BEAT_MS = 5_000

/** @throws HelixError `address_in_use` */
export async function startGateway(parts: GatewayParts): Promise<Gateway> {
  const { config, auth, pool, clock, log, random } = parts
  const drain = new Drain()
  const credentials = new CredentialCache({
    auth,
    clock,
    entriesMax: config.keyCacheMax,
    ttlMs: config.keyCacheTtl,
    graceMs: config.keyGrace,
  })
  const clients = new EngineClients()
  const unwatch = pool.watchReplicas((replicas) => clients.keepOnly(replicas))
  const router = new Router({
    pool,
    clock,
    queueMax: config.queueMax,
    queueTimeoutMs: config.queueTimeout,
    loadWaitMs: config.loadWait,
  })
  const dispatch = new Dispatch({
    router,
    clients,
    clock,
    firstByteTimeoutMs: config.firstByteTimeout,
    stallTimeoutMs: config.stallTimeout,
    requestDeadlineMs: config.requestDeadline,
    waitNoticeMs: config.waitNotice,
    explainWait: async (model) => (await pool.explainWait(model)).reason,
  })
  const app = buildApp({
    credentials,
    auth,
    dispatch,
    pool,
    drain,
    readiness: { drain, database: parts.databaseProblem, pool },
    log,
    accessLog: parts.accessLog,
    random,
    instance: parts.instance,
    version: parts.version,
    trustedProxies: config.trustedProxies,
    bodyLimitBytes: config.bodyLimit,
  })
  const control = buildControlApp({ auth, pool, status: parts.status, log, random })
  await listen(() => app.listen({ host: config.host, port: config.port }), `${config.host}:${config.port}`)
  rmSync(parts.controlSocket, { force: true })
  await listen(() => control.listen({ path: parts.controlSocket }), parts.controlSocket)
  chmodSync(parts.controlSocket, 0o600)
  const stopKeepAlive = EventStream.keepAlive(KEEP_ALIVE_BEAT_MS)

  const stop = async () => {
    await drain.begin(clock, config.drainGrace)
    await dispatch.stop()
    await control.close()
    rmSync(parts.controlSocket, { force: true })
    await app.close()
    stopKeepAlive()
    unwatch()
    router.stop()
    credentials.stop()
    await clients.stop()
  }
  const { address, port, family } = app.server.address() as AddressInfo
  return { url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`, stop }
}

async function listen(start: () => Promise<string>, where: string): Promise<void> {
  try {
    await start()
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL') throw cause
    const reason = code === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${code})`
    throw new HelixError(
      'address_in_use',
      `${where} ${reason}. Choose another with --port or gateway.port.`,
      { cause },
    )
  }
}
