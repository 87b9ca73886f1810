import { Cluster, Redis } from 'ioredis'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../core/log.ts'
import { type HeartbeatOptions, watchRedis } from './heartbeat.ts'

export { Cluster }

/** One server, or all of a cluster behind one object. */
export type RedisClient = Redis | Cluster

export interface RedisConnection {
  readonly client: RedisClient
  /**
   * A connection of its own that can subscribe; opened anew at each call, closed with the others. Whoever uses it
   * subscribes again at each `ready`.
   */
  subscriber(): RedisClient
  stop(): Promise<void>
}

type RedisConfig = Config['redis']

const RECONNECT_MIN_MS = 50
const RECONNECT_MAX_MS = 1_000
const CONNECT_TIMEOUT_MS = 2_000

/**
 * Callers set deadlines of their own, far shorter; this one only keeps what a frozen server owes from piling up. A
 * reply that comes after it is dropped and never handed to the next caller.
 */
const COMMAND_TIMEOUT_MS = 2_000

/**
 * Connects in the background and for as long as it lives: while there is no connection, commands fail at once instead of
 * waiting for one, and none is ever sent twice.
 * @param watching where it is to be told whether Redis answers
 */
export function openRedis(config: RedisConfig, log: Logger, watching?: HeartbeatOptions): RedisConnection {
  const opened: RedisClient[] = []
  const open = (subscribes: boolean) => {
    const client = config.mode === 'cluster' ? openCluster(config, subscribes) : openSingle(config)
    // Without a listener an error would end the process; those who send commands hear of it themselves.
    client.on('error', (cause: unknown) => log.debug('redis connection failed', { cause: String(cause) }))
    opened.push(client)
    return client
  }
  const client = open(false)
  let connected = false
  client.on('ready', () => {
    connected = true
    log.info('redis connected', {})
  })
  client.on('close', () => {
    if (connected) log.warn('redis connection lost', {})
    connected = false
  })
  const unwatch = watching ? watchRedis(client, watching) : () => {}
  return {
    client,
    subscriber: () => open(true),
    stop: async () => {
      unwatch()
      for (const one of opened) one.disconnect()
    },
  }
}

const common = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  // The client would do it by itself without anybody who hears of its failure.
  autoResubscribe: false,
  connectTimeout: CONNECT_TIMEOUT_MS,
  commandTimeout: COMMAND_TIMEOUT_MS,
} as const

function retry(times: number): number {
  return Math.min(RECONNECT_MAX_MS, RECONNECT_MIN_MS * 2 ** Math.min(10, times))
}

function openSingle(config: RedisConfig): Redis {
  const [first = ''] = config.urls
  if (config.mode === 'single') return new Redis(first, { ...common, retryStrategy: retry })
  const { username, password, tls, db } = addressOf(first)
  return new Redis({
    ...common,
    retryStrategy: retry,
    sentinelRetryStrategy: retry,
    sentinels: config.urls.map((url) => addressOf(url)).map(({ host, port }) => ({ host, port })),
    name: config.sentinelName,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {}, enableTLSForSentinelMode: true } : {}),
    db,
  })
}

function openCluster(config: RedisConfig, subscribes: boolean): Cluster {
  const { username, password, tls } = addressOf(config.urls[0] ?? '')
  return new Cluster(
    config.urls.map((url) => addressOf(url)).map(({ host, port }) => ({ host, port })),
    {
      enableOfflineQueue: false,
      shardedSubscribers: subscribes,
      clusterRetryStrategy: retry,
      // A node that is gone is asked about again at once; more would make a caller wait for an election.
      maxRedirections: 4,
      redisOptions: {
        ...common,
        ...(username === undefined ? {} : { username }),
        ...(password === undefined ? {} : { password }),
        ...(tls ? { tls: {} } : {}),
      },
    },
  )
}

function addressOf(url: string) {
  const { protocol, hostname, port, username, password, pathname } = new URL(url)
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 6379),
    username: decodeURIComponent(username) || undefined,
    password: decodeURIComponent(password) || undefined,
    db: Number(pathname.slice(1) || 0),
    tls: protocol === 'rediss:',
  }
}
