import { rmSync } from 'node:fs'
import type { RunningAuth } from '../auth/start.ts'
import { startAuth } from '../auth/start.ts'
import type { Settings } from '../config/load.ts'
import { makePlaces, type Places, placesOf } from '../config/places.ts'
import { HelixError } from '../core/errors.ts'
import { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { LlamaEngine } from '../engines/llama-engine.ts'
import type { ModelStore } from '../engines/model-store.ts'
import { type Gateway, startGateway } from '../gateway/start.ts'
import { startNode } from '../node/start.ts'
import type { PoolService } from '../pool/service.ts'
import { startPool } from '../pool/start.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../storage/embedded-postgres.ts'
import { systemClock, systemRandom } from '../system.ts'
import { openModelStore } from './model-store.ts'

export interface Platform {
  readonly auth: RunningAuth['auth']
  readonly pool: PoolService
  readonly gateway: Gateway
  readonly store: ModelStore
  readonly places: Places
  /** Stops everything in the reverse order of its start; nothing is left running. */
  stop(): Promise<void>
}

export interface PlatformOptions {
  readonly settings: Settings
  readonly log: Logger
  readonly accessLog: Logger
  /** Finds or builds the engine; called when the first model needs it. */
  readonly engine: (places: Places) => Promise<LlamaEngine>
  readonly version: string
}

/**
 * All roles in one process: every service gets the others as clients and knows no more of them.
 * @throws HelixError when a part cannot start; what had started is stopped again
 */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { settings, log, accessLog, engine, version } = options
  const { config } = settings
  const places = placesOf(settings.home, config)
  makePlaces(places)
  const lifecycle = new Lifecycle(log)
  lifecycle.add('sockets', async () => rmSync(places.runtime, { recursive: true, force: true }))
  const startedAtMs = systemClock.now()
  try {
    const postgres = await startDatabase(settings, places, log)
    if (postgres) lifecycle.add('postgres', () => postgres.stop())
    const auth = await startAuth({
      connection: postgres?.connection ?? databaseUrl(settings),
      connectionsMax: config.database.connectionsMax,
      connectionsMin: config.database.connectionsMin,
      replicas: config.database.driver === 'postgres' ? config.database.replicaUrls : [],
      gateways: config.database.gateways,
      acquireTimeoutMs: config.database.acquireTimeout,
      queryTimeoutMs: config.database.queryTimeout,
      pepperFile: places.pepper,
      log,
      clock: systemClock,
    })
    lifecycle.add('auth', () => auth.stop())
    const store = await openModelStore(settings, places, log)
    const parts = { store, socketDirectory: places.runtime, clock: systemClock, log }
    const node = startNode({ config: config.engines, engine: () => engine(places), ...parts })
    const running = await startPool({ config, node, clock: systemClock, log })
    lifecycle.add('pool', () => running.stop())
    const gateway = await startGateway({
      config: config.gateway,
      auth: auth.auth,
      pool: running.pool,
      databaseProblem: () => auth.auth.problem(),
      controlSocket: places.controlSocket,
      status: async () => ({ version, pid: process.pid, startedAtMs, url: gateway.url, home: places.home }),
      instance: `${process.pid}`,
      version,
      clock: systemClock,
      random: systemRandom,
      log,
      accessLog,
    })
    lifecycle.add('gateway', () => gateway.stop())
    return { auth: auth.auth, pool: running.pool, gateway, store, places, stop: () => lifecycle.stop() }
  } catch (reason) {
    await lifecycle.stop()
    throw reason
  }
}

async function startDatabase(
  settings: Settings,
  places: Places,
  log: Logger,
): Promise<EmbeddedPostgres | undefined> {
  const { database } = settings.config
  if (database.driver !== 'embedded') return undefined
  return startEmbeddedPostgres({
    directory: places.postgres,
    runtimeDirectory: places.runtime,
    binaries: database.binaries,
    log,
    clock: systemClock,
  })
}

function databaseUrl({ config: { database } }: Settings): string {
  if (database.driver === 'postgres') return database.url
  throw new HelixError('invalid_configuration', 'The embedded database did not start.')
}
