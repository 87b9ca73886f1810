import type { Command } from 'commander'
import { type CommonOptions, command, runCommand } from './command.ts'
import { table } from './output.ts'

interface ExplainFlags extends CommonOptions {
  readonly keyId?: string
  readonly userId?: string
  readonly projectId?: string
  readonly model?: string
  readonly organisation?: string
}

interface Explained {
  readonly ruleId: string
  readonly rule: string
  readonly remaining: number | string
  readonly reset: string
  readonly shapes: boolean
}

/** `helixflow limits explain`: what binds somebody at the moment, and how much of it is left. */
export function explainLimitsCommand(): Command {
  return command('explain', 'the rules that bind a key or a user, and what is left of each')
    .option('--key-id <id>', 'of this key')
    .option('--user-id <id>', 'of this user')
    .option('--project-id <id>', 'where the user works')
    .option('--model <name>', 'for requests to this model')
    .option('--organisation <id>', 'whose (default: org_default)')
    .action((flags: ExplainFlags) =>
      runCommand(flags, async ({ control, output }) => {
        const { keyId, userId, projectId, model, organisation } = flags
        const query = new URLSearchParams()
        for (const [name, value] of Object.entries({ keyId, userId, projectId, model }))
          if (value !== undefined) query.set(name, value)
        const path = `/admin/v1/limits/explain?${query}`
        const answer = await control.get<{ data: readonly Explained[] }>(path, organisation)
        output.result(answer, () => textOf(answer.data))
        return 0
      }),
    )
}

function textOf(data: readonly Explained[]): string {
  if (data.length === 0) return 'No rule binds.'
  const rows = data.map(({ ruleId, rule, remaining, reset, shapes }) => [
    ruleId,
    shapes ? `${rule} (waits)` : rule,
    String(remaining),
    reset,
  ])
  return table(['ID', 'RULE', 'REMAINING', 'RESET'], rows)
}
