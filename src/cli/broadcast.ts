import type { Command } from 'commander'
import { DEFAULT_ORGANISATION } from '../contracts/auth.ts'
import { type CommonOptions, command, runCommand } from './command.ts'

interface BroadcastFlags extends CommonOptions {
  readonly level: string
  readonly organisation?: string
}

export function broadcastCommand(): Command {
  return command('broadcast', 'tell something to everybody who is connected by a WebSocket')
    .argument('<text>')
    .option('--level <level>', 'info or warning', 'info')
    .option('--organisation <id>', `whose connections (default: ${DEFAULT_ORGANISATION})`)
    .action((message: string, flags: BroadcastFlags) =>
      runCommand(flags, async ({ control, output }) => {
        const notice = { message, level: flags.level }
        const done = await control.post<object>('/admin/v1/broadcast', notice, flags.organisation)
        output.result(done, () => 'announced')
        return 0
      }),
    )
}
