import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Settings } from '../config/load.ts'
import { receiverWarnings } from '../config/notification-settings.ts'
import type { MonitorClient } from '../contracts/monitor.ts'
import { MonitorRpcClient } from '../contracts/monitor-rpc-client.ts'
import { overTls } from '../contracts/rpc-transport.ts'
import type { Clock } from '../core/clock.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import { AlertBoard } from '../monitor/alert-board.ts'
import { RULES } from '../monitor/alerts/rules.ts'
import { Kpis, type KpisOptions } from '../monitor/kpis.ts'
import { localTarget } from '../monitor/local-target.ts'
import { Monitor } from '../monitor/monitor.ts'
import { Notifier, type NotifierOptions } from '../monitor/notify/notifier.ts'
import { Outbox } from '../monitor/notify/outbox.ts'
import { remoteTarget } from '../monitor/remote-target.ts'
import { Silences } from '../monitor/silences.ts'
import { type DatabaseOptions, openDatabase, type PostgresConnection } from '../storage/database.ts'
import { systemClock, systemRandom } from '../system.ts'
import { tlsFiles } from './auth-service.ts'
import type { StartedMetrics } from './metrics-listener.ts'

export interface OpenMonitorRequest {
  readonly settings: Settings
  readonly metrics: StartedMetrics
  /** Of this process, as in `startMetrics`. */
  readonly role: string
  readonly log: Logger
  /** By which rounds are made, and alerts last; by default the machine's own. */
  readonly clock?: Clock
  /** For prices by the kind of device; without it devices are known by their ids alone. */
  readonly devices?: KpisOptions['devices']
  /** Stops what was started. */
  readonly lifecycle: Lifecycle
}

/** Longer than a receiver may take, or the statement of business figures. */
const RPC_TIMEOUT_MS = 15_000
const ACQUIRE_TIMEOUT_MS = 2_000
/** What is written has to be there before the next round. */
const WRITE_TIMEOUT_MS = 3_000
const READ_TIMEOUT_MS = 10_000
/** Rounds that a monitor may miss before another one begins. */
const LEASE_ROUNDS = 3

/**
 * The monitor as a gateway uses it: where `rpc.monitorUrl` says, or in this process where it has the database. Undefined
 * where there is none, for gateways whose auth service is elsewhere and which know of no monitor.
 */
export function openMonitor(
  request: OpenMonitorRequest,
  connection: PostgresConnection | string | undefined,
): MonitorClient | undefined {
  const { settings, lifecycle } = request
  const { monitor, rpc } = settings.config
  if (rpc.monitorUrl !== undefined) {
    const transport = overTls(rpc.monitorUrl, tlsFiles(settings))
    const client = new MonitorRpcClient({ transport, timeoutMs: RPC_TIMEOUT_MS })
    lifecycle.add('monitor client', () => client.stop())
    return client
  }
  return monitor.enabled && connection !== undefined ? startMonitor(request, connection) : undefined
}

/** The monitor itself, which reads this process and those of `monitor.targets`. */
export function startMonitor(
  {
    settings,
    metrics,
    role,
    log,
    clock = systemClock,
    devices = async () => [],
    lifecycle,
  }: OpenMonitorRequest,
  connection: PostgresConnection | string,
): Monitor {
  const { monitor } = settings.config
  const options = {
    acquireTimeoutMs: ACQUIRE_TIMEOUT_MS,
    log,
    clock: systemClock,
  } satisfies Partial<DatabaseOptions>
  const database = openDatabase(connection, {
    ...options,
    connectionsMax: 1,
    queryTimeoutMs: WRITE_TIMEOUT_MS,
  })
  const reading = openDatabase(connection, {
    ...options,
    connectionsMax: 2,
    queryTimeoutMs: READ_TIMEOUT_MS,
  })
  const here = localTarget({ instance: ownInstance(metrics), role, metrics: metrics.registry })
  for (const warning of receiverWarnings(monitor.receivers)) log.warn(warning, {})
  const outbox = new Outbox(reading, systemClock)
  const telling: NotifierOptions = {
    ...{ receivers: monitor.receivers, runbookUrl: monitor.runbookUrl, metrics: metrics.registry, log },
    ...{ outbox, clock: systemClock, random: systemRandom },
  }
  const silences = new Silences(reading, systemClock)
  const { deviceCosts, keepMinutes: minutesKeptMs } = monitor
  const kpis = new Kpis({ database: reading, clock: systemClock, deviceCosts, minutesKeptMs, devices })
  const running = new Monitor({
    targets: [here, ...monitor.targets.map(remoteTarget)],
    intervalMs: monitor.interval,
    retention: { '10s': monitor.keepFine, '1m': monitor.keepMinutes, '1h': monitor.keepHours },
    holder: `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`,
    leaseMs: LEASE_ROUNDS * Math.max(monitor.interval, WRITE_TIMEOUT_MS),
    ...{ database, reading, metrics: metrics.registry, clock, log },
    board: new AlertBoard({ rules: RULES, log }),
    silences: () => silences.list(),
    openTeller: () => {
      const notifier = new Notifier(telling)
      notifier.start()
      return notifier
    },
    desk: {
      silence: (asked) => silences.add(asked),
      unsilence: (id) => silences.end(id),
      kpis: (query) => kpis.report(query),
      testReceiver: (name) => new Notifier(telling).test(name),
      notifications: (limit) => outbox.list(limit),
    },
  })
  lifecycle.add('monitor database', async () => {
    await Promise.all([database.close(), reading.close()])
  })
  lifecycle.add('monitor', () => running.stop())
  running.start()
  return running
}

/** Host and port, as Prometheus would name this process. */
function ownInstance({ url }: StartedMetrics): string {
  return url === undefined ? hostname() : new URL(url).host
}
