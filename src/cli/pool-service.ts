import type { Settings } from '../config/load.ts'
import { NodeRpcClient } from '../contracts/node-rpc-client.ts'
import type { LeaderView } from '../contracts/pool-service.ts'
import { serveRpc } from '../contracts/rpc-server.ts'
import { overTls, type TlsFiles } from '../contracts/rpc-transport.ts'
import { delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Tracer } from '../core/tracing.ts'
import { GatewayTables } from '../pool/gateway-tables.ts'
import { Leadership } from '../pool/leader.ts'
import { Nodes } from '../pool/nodes.ts'
import { type LeadingPool, poolRoutes } from '../pool/rpc.ts'
import { startPool } from '../pool/start.ts'
import { migrate } from '../storage/migrate.ts'
import { systemClock } from '../system.ts'
import { tlsFiles } from './auth-service.ts'
import { startMetrics } from './metrics-listener.ts'
import { publicHost } from './public-host.ts'
import { startTracing } from './start-tracing.ts'

export interface PoolServiceRequest {
  readonly settings: Settings
  readonly log: Logger
  /** Stops what was started. */
  readonly lifecycle: Lifecycle
  readonly version: string
}

/** A node answers at once or is not there; what takes longer has no such limit. */
const NODE_TIMEOUT_MS = 5_000
/** Nodes say each second that they are there, and look for the next leader four times a second. */
const SETTLE_MS = 2_000
/** Instances are numbered anew by each leader, above those of all before. */
const INSTANCES_PER_EPOCH = 1_000_000

export interface StartedPool {
  readonly url: string
  readonly metricsUrl: string | undefined
}

/** The pool for gateways and nodes of other machines, whenever it is the one that leads. */
export async function startPoolService(request: PoolServiceRequest): Promise<StartedPool> {
  const { settings, log, lifecycle, version } = request
  const { rpc, database } = settings.config
  if (database.driver !== 'postgres') {
    throw new HelixError(
      'invalid_configuration',
      'Pools decide who leads in a database that all of them reach: set database.driver to postgres, and its url.',
    )
  }
  const tls = tlsFiles(settings)
  await migrate({ connection: database.url, log, clock: systemClock })
  const { registry: metrics, url: metricsUrl } = await startMetrics({
    settings,
    lifecycle,
    role: 'pool',
    version,
  })
  const { config } = settings
  const tracer = await startTracing({ config, role: 'pool', version, metrics, log, lifecycle })
  let leading: LeadingPool | undefined
  let leadership: Leadership | undefined
  const nobody: LeaderView = { leads: false, epoch: 0, url: undefined }
  const routes = poolRoutes({
    ...{ leading: () => leading, leader: () => leadership?.view() ?? nobody, clock: systemClock, log },
  })
  const listening = { host: rpc.poolHost, port: rpc.poolPort, publicHost: publicHost(settings, rpc.poolHost) }
  const server = await serveRpc({ ...listening, tls, routes, tracer })
  lifecycle.add('rpc', () => server.stop())
  const lead = async (epoch: number, over: AbortSignal) => {
    const one = await beginToLead({ settings, tls, metrics, tracer, log }, epoch, over)
    leading = one.leading
    await aborted(over)
    leading = undefined
    await one.stop()
  }
  const standing = { connection: database.url, url: server.url, lead, clock: systemClock, log, metrics }
  leadership = new Leadership(standing)
  lifecycle.add('leadership', async () => leadership?.stop())
  return { url: server.url, metricsUrl }
}

interface LeadParts {
  readonly settings: Settings
  readonly tls: TlsFiles
  readonly metrics: Metrics
  readonly tracer: Tracer
  readonly log: Logger
}

async function beginToLead(
  { settings, tls, metrics, tracer, log }: LeadParts,
  epoch: number,
  over: AbortSignal,
) {
  const clock = systemClock
  const nodes = new Nodes({
    connect: ({ nodeId, rpcUrl }) =>
      new NodeRpcClient({
        ...{ nodeId, transport: overTls(rpcUrl, tls), epoch, timeoutMs: NODE_TIMEOUT_MS, clock, log },
      }),
    ...{ clock, log },
  })
  const running = await startPool({
    ...{ config: settings.config, nodes, clock, log, metrics, tracer },
    firstInstance: epoch * INSTANCES_PER_EPOCH + 1,
  })
  const { pool } = running
  const tables = new GatewayTables({ pool, epoch, clock })
  // Whoever waits for it hears in another way that it is over.
  const settled = delay(clock, SETTLE_MS, over).catch(() => {})
  const leading: LeadingPool = { pool, nodes, tables, epoch, settled, over }
  const stop = async () => {
    tables.stop()
    // What nodes run is the next leader's. First, for each call that ends now would else be made anew elsewhere.
    running.leave()
    await nodes.stop()
  }
  return { leading, stop }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
