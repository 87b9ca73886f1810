import { type Benchmark, versionsOf } from './report.ts'
import { coldStarts } from './scheduling-cold-starts.ts'
import { decisions } from './scheduling-decisions.ts'
import { goodputs } from './scheduling-goodput.ts'
import type { Part } from './scheduling-part.ts'
import { prefixes } from './scheduling-prefixes.ts'

const PARTS = { decisions, prefixes, goodputs, coldStarts } as const satisfies Record<string, Part>

/** What the scheduler is worth: the code that runs live, replayed beside simpler rules and beside bounds. */
export const scheduling: Benchmark = {
  summary: 'cold starts, goodput and prefix hits beside simpler rules and bounds; the time of a decision',
  takesTraces: true,
  run: async (options) => {
    const results = []
    for (const [name, part] of Object.entries(PARTS)) results.push({ name, ...(await part(options)) })
    return {
      settings: { quick: options.quick },
      versions: versionsOf(),
      notes: results.flatMap(({ notes }) => notes),
      goals: results.flatMap(({ goals }) => goals),
      summary: Object.fromEntries(results.map(({ name, summary }) => [name, summary])),
      rounds: results.flatMap(({ name, rounds }) => rounds.map((round) => ({ part: name, ...round }))),
      table: results.flatMap(({ table }) => [...table, '']),
    }
  },
}
