import type { Command } from 'commander'
import { Lifecycle } from '../core/lifecycle.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { poolSubcommands } from './pool-administration.ts'
import { stopSignal } from './stop-signal.ts'

export function poolCommand(version: string): Command {
  const pool = command(
    'pool',
    'run the pool alone, for gateways and nodes on other machines; several on one database stand in for each other',
  ).action((options: CommonOptions) => runCommand(options, (context) => serve(context, version)))
  // Its options and those of what follows have the same names; each takes its own.
  pool.enablePositionalOptions()
  for (const one of poolSubcommands()) pool.addCommand(one)
  return pool
}

async function serve({ settings, log, output }: CommandContext, version: string): Promise<number> {
  // Loaded here, so that no other command waits for it.
  const { startPoolService } = await import('./pool-service.ts')
  const stopping = stopSignal()
  const lifecycle = new Lifecycle(log)
  try {
    const { url, metricsUrl } = await startPoolService({ settings, log, lifecycle, version })
    output.result({ url, metricsUrl }, () => `The pool listens at ${url}`)
    await stopping.asked
  } finally {
    await lifecycle.stop()
  }
  return 0
}
