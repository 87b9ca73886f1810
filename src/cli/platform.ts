import { rmSync } from 'node:fs'
import type { Settings } from '../config/load.ts'
import { makePlaces, type Places, placesOf } from '../config/places.ts'
import type { Config } from '../config/schema.ts'
import type { AuthClient } from '../contracts/auth.ts'
import type { SpendClient } from '../contracts/limits.ts'
import type { PoolClient } from '../contracts/pool.ts'
import { priceList } from '../contracts/prices.ts'
import { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { ModelStore } from '../engines/model-store.ts'
import { type Gateway, startGateway } from '../gateway/start.ts'
import type { NodeOptions } from '../node/start.ts'
import { openRedis, type RedisConnection } from '../redis/connection.ts'
import { systemClock, systemRandom } from '../system.ts'
import { type AuthServiceRequest, openAuthClient } from './auth-service.ts'
import { countedCache, openCache } from './cache-store.ts'
import { startMetrics } from './metrics-listener.ts'
import { openMonitor } from './open-monitor.ts'
import { openPool } from './open-pool.ts'
import { startTracing } from './start-tracing.ts'
import { type OpenStreamsOptions, openStreams } from './stream-store.ts'

export interface Platform {
  readonly auth: AuthClient
  readonly pool: PoolClient
  readonly gateway: Gateway
  /** Undefined where models are on other machines. */
  readonly store: ModelStore | undefined
  readonly places: Places
  /** Where Prometheus reads; undefined where nothing is served. */
  readonly metricsUrl: string | undefined
  /** Stops everything in the reverse order of its start; nothing is left running. */
  stop(): Promise<void>
}

export interface PlatformOptions extends Pick<NodeOptions, 'llamaServer' | 'managed'> {
  readonly settings: Settings
  readonly log: Logger
  readonly accessLog: Logger
  readonly version: string
}

/**
 * All roles in one process: every service gets the others as clients and knows no more of them.
 * @throws HelixError when a part cannot start; what had started is stopped again
 */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { settings, log, accessLog, llamaServer, managed, version } = options
  const { config } = settings
  const places = placesOf(settings.home, config)
  makePlaces(places)
  const lifecycle = new Lifecycle(log)
  lifecycle.add('sockets', async () => rmSync(places.runtime, { recursive: true, force: true }))
  const startedAtMs = systemClock.now()
  try {
    const role = config.rpc.poolUrls.length > 0 ? 'gateway' : 'all'
    const metrics = await startMetrics({ settings, lifecycle, role, version })
    const tracer = await startTracing({ config, role, version, metrics: metrics.registry, lifecycle, log })
    const asked = { settings, places, log, lifecycle, metrics: metrics.registry, tracer }
    const { auth, usage, spend, connection, ...kept } = await openAuthClient(asked)
    const { pool, store, tls } = await openPool({
      ...{ ...asked, llamaServer, managed },
    })
    const redis = startRedis(config, asked)
    const memories = await openMemories(config, redis, {
      metrics: metrics.registry,
      lifecycle,
      log,
      // None is read here before there is a gateway.
      orphaned: (writer, soFar) => gateway.takeOver(writer, soFar),
      stays: () => gateway.stays(),
    })
    const gateway = await startGateway({
      config: config.gateway,
      scheduler: config.scheduler,
      caching: config.cache,
      realtime: config.realtime,
      ...memories,
      ...kept,
      auth,
      pool,
      tls,
      usage: {
        sink: usage,
        directory: places.spool,
        bytesMax: config.usage.spoolMax,
        price: priceList(config.prices),
      },
      limits: limitParts(config, redis, spend),
      metrics: metrics.registry,
      tracer,
      tracesUpstreams: config.tracing.upstreams,
      databaseProblem: () => auth.problem(),
      monitor: openMonitor({ ...asked, metrics, role, devices: () => pool.listDevices() }, connection),
      controlSocket: places.controlSocket,
      status: async () =>
        statusOf(gateway, { version, startedAtMs, metricsUrl: metrics.url, home: places.home }),
      instance: `${process.pid}`,
      version,
      clock: systemClock,
      random: systemRandom,
      log,
      accessLog,
    })
    lifecycle.add('gateway', () => gateway.stop())
    const { url: metricsUrl } = metrics
    return { auth, pool, gateway, store, places, metricsUrl, stop: () => lifecycle.stop() }
  } catch (reason) {
    await lifecycle.stop()
    throw reason
  }
}

function statusOf(gateway: Gateway, facts: object): object {
  return { ...facts, pid: process.pid, url: gateway.url, realtime: gateway.realtime() }
}

interface MemoriesOptions extends OpenStreamsOptions {
  readonly metrics: Metrics
  readonly lifecycle: Lifecycle
}

/** What gateways remember, each by itself or together. */
async function openMemories(
  config: Config,
  redis: RedisConnection | undefined,
  { metrics, lifecycle, ...streaming }: MemoriesOptions,
) {
  const cacheMetrics = countedCache(metrics)
  const cache = openCache(config, redis, cacheMetrics)
  lifecycle.add('cache', () => cache.stop())
  const { streams, topics, secrets, stop } = await openStreams(config, redis, streaming)
  lifecycle.add('streams', stop)
  return { cache, cacheMetrics, streams, topics, secrets }
}

/** Undefined: this gateway is the only one. */
function startRedis(
  { redis }: Config,
  { lifecycle, log, metrics }: Pick<AuthServiceRequest, 'lifecycle' | 'log' | 'metrics'>,
): RedisConnection | undefined {
  if (redis.urls.length === 0) return undefined
  const connection = openRedis(redis, log, { metrics, clock: systemClock })
  lifecycle.add('redis', () => connection.stop())
  return connection
}

function limitParts(
  { redis, database, limits }: Config,
  connection: RedisConnection | undefined,
  spend: SpendClient,
) {
  const shared = connection && { connection, prefix: redis.prefix, timeoutMs: redis.timeout }
  return { redis: shared, gatewaysMin: database.gateways, outputTokens: limits.outputTokens, spend }
}
