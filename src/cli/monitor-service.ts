import { serveRpc } from '../contracts/rpc-server.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { monitorRoutes } from '../monitor/rpc.ts'
import { migrate } from '../storage/migrate.ts'
import { systemClock } from '../system.ts'
import { tlsFiles } from './auth-service.ts'
import { type MetricsRequest, startMetrics } from './metrics-listener.ts'
import { startMonitor } from './open-monitor.ts'
import { publicHost } from './public-host.ts'

export interface MonitorServiceRequest extends Omit<MetricsRequest, 'role'> {
  readonly log: Logger
}

/** The monitor for gateways of other machines. Of several on one database one works, and all answer. */
export async function startMonitorService(request: MonitorServiceRequest): Promise<{ readonly url: string }> {
  const { settings, log, lifecycle } = request
  const { rpc, database } = settings.config
  if (database.driver !== 'postgres') {
    throw new HelixError(
      'invalid_configuration',
      'A monitor apart keeps what it knows in the database of the auth service: set database.driver to postgres, and its url.',
    )
  }
  const tls = tlsFiles(settings)
  await migrate({ connection: database.url, log, clock: systemClock })
  const metrics = await startMetrics({ ...request, role: 'monitor' })
  const monitor = startMonitor({ settings, metrics, role: 'monitor', log, lifecycle }, database.url)
  const listening = {
    host: rpc.monitorHost,
    port: rpc.monitorPort,
    publicHost: publicHost(settings, rpc.monitorHost),
  }
  const server = await serveRpc({ ...listening, tls, routes: monitorRoutes(monitor, log) })
  lifecycle.add('rpc', () => server.stop())
  return { url: server.url }
}
