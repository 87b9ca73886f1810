import { Command } from 'commander'
import type { AlertView, Silence } from '../contracts/monitor.ts'
import { HelixError } from '../core/errors.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { givenDuration } from './given-duration.ts'
import { durationText, table } from './output.ts'

type SilenceFlags = CommonOptions & { readonly for: string; readonly reason: string }

export function alertsCommand(): Command {
  const list = () => command('list', 'what fires or is about to, and what ended lately').action(listAlerts)
  const alerts = new Command('alerts').description('alerts, and for which of them nobody is to be told')
  alerts.addCommand(list(), { isDefault: true })
  alerts.addCommand(command('silences', 'what nobody is told of at present').action(listSilences))
  alerts.addCommand(
    command('silence', 'tell nobody of an alert for a time')
      .argument('<matchers...>', 'name of the alert, or label=value; all must be so')
      .option('--for <duration>', 'how long', '1h')
      .option('--reason <text>', 'why, for whoever wonders', 'asked for at the command line')
      .action(silence),
  )
  alerts.addCommand(
    command('unsilence', 'tell people again').argument('<id>', 'of the silence').action(unsilence),
  )
  return alerts
}

function listAlerts(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const { alerts } = await control.get<{ alerts: readonly AlertView[] }>('/admin/v1/monitor/alerts')
    const nowMs = Date.now()
    output.result(alerts, () =>
      alerts.length === 0
        ? 'No alert fires.'
        : table(
            ['STATE', 'SEVERITY', 'ALERT', 'SINCE', 'WHAT', 'TO DO'],
            alerts.map((one) => alertRow(one, nowMs)),
          ),
    )
    // For scripts: whether anything fires that nobody has silenced.
    return alerts.some(({ state, silencedBy }) => state === 'firing' && silencedBy === undefined) ? 1 : 0
  })
}

function alertRow(view: AlertView, nowMs: number): string[] {
  const { state, severity, alert, sinceMs, summary, action, silencedBy, inhibitedBy } = view
  const notes = [
    ...(silencedBy === undefined ? [] : [`silenced by ${silencedBy}`]),
    ...(inhibitedBy === undefined ? [] : [`because of ${inhibitedBy}`]),
  ]
  const shownState = notes.length > 0 ? `${state} (${notes.join(', ')})` : state
  return [shownState, severity, alert, durationText(nowMs - sinceMs), summary, action]
}

function listSilences(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const { silences } = await control.get<{ silences: readonly Silence[] }>('/admin/v1/monitor/silences')
    output.result(silences, () =>
      silences.length === 0
        ? 'People are told of everything.'
        : table(['ID', 'MATCHES', 'UNTIL', 'BY', 'REASON'], silences.map(silenceRow)),
    )
    return 0
  })
}

function silenceRow({ id, matchers, untilMs, by, reason }: Silence): string[] {
  const labels = Object.entries(matchers).map(([label, value]) => `${label}=${value}`)
  return [id, labels.join(' '), new Date(untilMs).toISOString(), by, reason]
}

function silence(given: readonly string[], options: SilenceFlags): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const untilMs = Date.now() + givenDuration('--for', options.for)
    const request = { matchers: Object.fromEntries(given.map(matcher)), untilMs, reason: options.reason }
    const made = await control.post<Silence>('/admin/v1/monitor/silences', request)
    output.result(made, () => `${made.id} until ${new Date(made.untilMs).toISOString()}`)
    return 0
  })
}

function matcher(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 0) return ['alert', text]
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)]
  throw new HelixError('invalid_arguments', `'${text}' names no label; write label=value.`)
}

function unsilence(id: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const answer = await control.delete<object>(`/admin/v1/monitor/silences/${encodeURIComponent(id)}`)
    output.result(answer, () => `${id} is no more`)
    return 0
  })
}
