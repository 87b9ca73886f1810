import { Command } from 'commander'
import { type CommonOptions, command, runCommand } from './command.ts'

/** `helixflow notifications`: whether those who are to be told of alerts can be told. */
export function notificationsCommand(): Command {
  const notifications = new Command('notifications').description('who is told of alerts')
  notifications.addCommand(
    command('test', 'send a test notification to a receiver of monitor.receivers')
      .argument('<receiver>', 'its name')
      .action(test),
  )
  return notifications
}

function test(receiver: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const path = `/admin/v1/monitor/receivers/${encodeURIComponent(receiver)}/test`
    const done = await control.post<object>(path)
    output.result(done, () => `'${receiver}' took the test notification`)
    return 0
  })
}
