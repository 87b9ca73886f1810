import { Command } from 'commander'
import type { NotificationView } from '../contracts/monitor.ts'
import { HelixError } from '../core/errors.ts'
import { systemClock } from '../system.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { durationText, table } from './output.ts'

type ListFlags = CommonOptions & { readonly limit: string }

const LIMIT_MAX = 1_000

/** `helixflow notifications`: whether those who are to be told of alerts can be told, and what they were told. */
export function notificationsCommand(): Command {
  const notifications = new Command('notifications').description('who is told of alerts')
  notifications.addCommand(
    command('test', 'send a test notification to a receiver of monitor.receivers')
      .argument('<receiver>', 'its name')
      .action(test),
  )
  notifications.addCommand(
    command('list', 'what receivers were told, and are to be told, the newest first')
      .option('--limit <number>', `how many, ${LIMIT_MAX} at most`, '20')
      .action(list),
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

function list(options: ListFlags): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const path = `/admin/v1/monitor/notifications?limit=${givenLimit(options.limit)}`
    const { notifications } = await control.get<{ notifications: readonly NotificationView[] }>(path)
    const nowMs = systemClock.now()
    output.result(notifications, () =>
      notifications.length === 0
        ? 'Nobody was told of anything.'
        : table(
            ['AGO', 'RECEIVER', 'ALERT', 'SEVERITY', 'STATE', 'OUTCOME', 'TRIES', 'WHAT'],
            notifications.map((one) => row(one, nowMs)),
          ),
    )
    return 0
  })
}

function givenLimit(text: string): number {
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (limit >= 1 && limit <= LIMIT_MAX) return limit
  throw new HelixError('invalid_arguments', `--limit: '${text}' is no number from 1 to ${LIMIT_MAX}.`)
}

function row(view: NotificationView, nowMs: number): string[] {
  const { receiver, alert, severity, status, reminder, outcome, attempts, summary, alerts, atMs } = view
  return [
    durationText(nowMs - atMs),
    receiver,
    alert,
    severity,
    reminder ? `${status} (reminder)` : status,
    outcome ?? (attempts === 0 ? 'waits' : 'to be tried again'),
    String(attempts),
    alerts > 1 ? `${summary} (and ${alerts - 1} more)` : summary,
  ]
}
