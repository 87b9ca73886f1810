import type { Command } from 'commander'
import { HelixError } from '../core/errors.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { serveAll } from './up.ts'

type GatewayFlags = CommonOptions & { readonly host?: string; readonly port?: string }

export function gatewayCommand(version: string): Command {
  return command('gateway', 'run a gateway for a pool on another machine')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--port <number>', 'port to listen on (default: 8443)')
    .action((options: GatewayFlags) => {
      const flags = {
        'gateway.host': options.host,
        'gateway.port': options.port === undefined ? undefined : Number(options.port),
      }
      return runCommand(
        options,
        async (context) => {
          if (context.settings.config.rpc.poolUrls.length > 0) return serveAll(context, version)
          throw new HelixError('invalid_configuration', 'Say where the pool is: set rpc.poolUrls.')
        },
        flags,
      )
    })
}
