import type { Command } from 'commander'
import type { DecisionView, Explanation, PlaceView } from '../contracts/pool.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { table } from './output.ts'

interface ExplainFlags extends CommonOptions {
  readonly model: string
}

export function explainCommand(): Command {
  return command('explain', 'what the scheduler would do for a model now, and what it did, with the reasons')
    .requiredOption('--model <name>', 'its name, from the list')
    .action(explain)
}

function explain(options: ExplainFlags): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const query = new URLSearchParams({ model: options.model })
    const explanation = await control.get<Explanation>(`/admin/v1/scheduler/explain?${query}`)
    output.result(explanation, () => explanationText(explanation))
    return 0
  })
}

/** The explanation as lines of text. */
export function explanationText({ summary, candidates, decisions }: Explanation): string {
  const parts = [summary.split('; ').join('\n')]
  if (candidates.length > 0) {
    parts.push(table(['PLACE', 'COST', 'OF WHICH'], candidates.map(placeRow)))
  }
  if (decisions.length > 0)
    parts.push(table(['AT', 'DECIDED', 'INSTANCE', 'BECAUSE'], decisions.map(decisionRow)))
  return parts.join('\n\n')
}

function placeRow({ devices, cost, parts }: PlaceView): string[] {
  const shown = Object.entries(parts).filter(([, value]) => value !== 0)
  return [
    devices.join(' + '),
    cost === undefined ? '-' : `${cost.toFixed(2)} s`,
    shown.map(([name, value]) => `${name} ${value.toFixed(2)}`).join(', ') || '-',
  ]
}

function decisionRow({ atMs, kind, instance, because }: DecisionView): string[] {
  return [new Date(atMs).toISOString(), kind, instance ?? '-', because]
}
