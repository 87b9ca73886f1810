import type { Command } from 'commander'
import { makePlaces } from '../config/places.ts'
import { Lifecycle } from '../core/lifecycle.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { stopSignal } from './stop-signal.ts'

export function authCommand(version: string): Command {
  return command('auth', 'run the auth service alone, for gateways on other machines').action(
    (options: CommonOptions) => runCommand(options, (context) => serve(context, version)),
  )
}

async function serve({ settings, places, log, output }: CommandContext, version: string): Promise<number> {
  // Loaded here, so that no other command waits for it.
  const [{ authRoutes }, { serveRpc }, { startAuthService, tlsFiles }, { startMetrics }, { startTracing }] =
    await Promise.all([
      import('../auth/rpc.ts'),
      import('../contracts/rpc-server.ts'),
      import('./auth-service.ts'),
      import('./metrics-listener.ts'),
      import('./start-tracing.ts'),
    ])
  const { authHost: host, authPort: port } = settings.config.rpc
  const tls = tlsFiles(settings)
  makePlaces(places)
  const stopping = stopSignal()
  const lifecycle = new Lifecycle(log)
  try {
    const { registry: metrics, url: metricsUrl } = await startMetrics({
      settings,
      lifecycle,
      role: 'auth',
      version,
    })
    const { config } = settings
    const tracer = await startTracing({ config, role: 'auth', version, metrics, log, lifecycle })
    const started = await startAuthService({ settings, places, log, lifecycle, metrics })
    const server = await serveRpc({ host, port, tls, routes: authRoutes({ ...started, log }), tracer })
    lifecycle.add('rpc', () => server.stop())
    output.result({ url: server.url, metricsUrl }, () => `The auth service listens at ${server.url}`)
    await stopping.asked
  } finally {
    await lifecycle.stop()
  }
  return 0
}
