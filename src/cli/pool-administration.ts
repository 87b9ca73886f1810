import type { Command } from 'commander'
import type { MoveReport } from '../contracts/pool.ts'
import { type CommonOptions, command, runCommand } from './command.ts'

interface DefragmentFlags extends CommonOptions {
  readonly model?: string
  readonly dryRun?: boolean
}

/** What the operator asks of a running pool. */
export function poolSubcommands(): readonly Command[] {
  return [
    command('defrag', 'move models so that another one fits, without a failed request')
      .option('--model <name>', 'the one to make room for (default: each that is not loaded and needs moves)')
      .option('--dry-run', 'say what would be moved, and move nothing')
      .action(defragment),
    command('journal', 'what the scheduler met lately, as JSON: replaying it gives its present state').action(
      journal,
    ),
  ]
}

function defragment({ model, dryRun = false, ...options }: DefragmentFlags): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const asked = { dryRun, ...(model !== undefined && { model }) }
    const { plans } = await control.post<{ plans: readonly MoveReport[] }>(
      '/admin/v1/scheduler/defragment',
      asked,
    )
    output.result(plans, () =>
      plans.length === 0 ? 'No model needs a move.' : plans.map(planText).join('\n'),
    )
    return 0
  })
}

function planText({ model, because, moves }: MoveReport): string {
  const steps = moves.map(({ instance, from, to, kind }) => {
    const how = kind === 'copy-first' ? 'copy, then drain' : 'drain, then load'
    return `  ${instance}: ${from.join(' + ')} -> ${to.join(' + ')} (${how})`
  })
  return [`${model}: ${because}`, ...steps].join('\n')
}

function journal(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const view = await control.get<object>('/admin/v1/scheduler/journal')
    output.result(view, () => JSON.stringify(view))
    return 0
  })
}
