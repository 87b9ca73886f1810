import type { Command } from 'commander'
import { Lifecycle } from '../core/lifecycle.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { stopSignal } from './stop-signal.ts'

export function monitorCommand(version: string): Command {
  return command(
    'monitor',
    'run the monitor alone, for gateways on other machines; several on one database stand in for each other',
  ).action((options: CommonOptions) => runCommand(options, (context) => serve(context, version)))
}

async function serve({ settings, log, output }: CommandContext, version: string): Promise<number> {
  // Loaded here, so that no other command waits for it.
  const { startMonitorService } = await import('./monitor-service.ts')
  const stopping = stopSignal()
  const lifecycle = new Lifecycle(log)
  try {
    const { url } = await startMonitorService({ settings, log, lifecycle, version })
    output.result({ url }, () => `The monitor listens at ${url}`)
    await stopping.asked
  } finally {
    await lifecycle.stop()
  }
  return 0
}
