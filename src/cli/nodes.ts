import { Command } from 'commander'
import { HelixError } from '../core/errors.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { durationText, table } from './output.ts'

export function nodesCommand(): Command {
  return new Command('nodes')
    .description('the machines whose engines a pool uses')
    .addCommand(command('list', 'list the nodes of the pool that rpc.poolUrls names').action(list))
}

function list(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ settings, output, log }) => {
    if (settings.config.rpc.poolUrls.length === 0) {
      throw new HelixError('invalid_configuration', 'This machine is alone: rpc.poolUrls names no pool.')
    }
    const { poolClient } = await import('./open-pool.ts')
    const pool = poolClient(settings, log)
    try {
      const nodes = await pool.listNodes()
      const nowMs = Date.now()
      output.result({ nodes }, () =>
        table(
          ['NODE', 'ADDRESS', 'JOINED', 'HEARD'],
          nodes.map(({ id, rpcUrl, joinedAtMs, silentMs }) => [
            ...[id, rpcUrl, `${durationText(nowMs - joinedAtMs)} ago`, `${durationText(silentMs)} ago`],
          ]),
        ),
      )
      return 0
    } finally {
      await pool.stop()
    }
  })
}
