import { writeFileSync } from 'node:fs'
import { Command } from 'commander'
import { exampleConfig } from '../config/document.ts'
import { shownReceivers } from '../config/notification-settings.ts'
import { type CommonOptions, command, runCommand } from './command.ts'

export function configCommand(): Command {
  const config = new Command('config').description('settings')
  config.addCommand(
    command('example', 'print a settings file with every setting and its default')
      .option('--write <file>', 'write it to a file instead')
      .action((options: CommonOptions & { readonly write?: string }) =>
        runCommand(options, async ({ output }) => {
          if (options.write === undefined) output.line(exampleConfig().trimEnd())
          else writeFileSync(options.write, exampleConfig())
          return 0
        }),
      ),
  )
  config.addCommand(
    command('show', 'print the settings in force').action((options: CommonOptions) =>
      runCommand(options, async ({ settings, places, output }) => {
        const upstreams = settings.config.upstreams.map((one) => ({
          ...one,
          apiKey: one.apiKey && '[redacted]',
        }))
        const database =
          'url' in settings.config.database
            ? { ...settings.config.database, url: '[redacted]' }
            : settings.config.database
        const { oidc } = settings.config.auth
        const auth = oidc
          ? { ...settings.config.auth, oidc: { ...oidc, clientSecret: '[redacted]' } }
          : settings.config.auth
        const receivers = shownReceivers(settings.config.monitor.receivers)
        const monitor = { ...settings.config.monitor, receivers }
        const { headers } = settings.config.tracing
        const tracing = {
          ...settings.config.tracing,
          headers: Object.fromEntries(Object.keys(headers).map((name) => [name, '[redacted]'])),
        }
        const shown = { places, config: { ...settings.config, upstreams, database, auth, monitor, tracing } }
        output.result(shown, () => JSON.stringify(shown, undefined, 2))
        return 0
      }),
    ),
  )
  return config
}
