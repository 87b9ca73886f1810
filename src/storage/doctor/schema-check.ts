import { migrationState } from '../pending-migrations.ts'
import { type Check, ok, problem } from './check.ts'

export const SCHEMA_CHECK: Check = {
  name: 'schema',
  run: async (database) => {
    const { pending, foreign, appliedCount } = await migrationState(database)
    if (foreign.length > 0)
      return problem(
        `${foreign.join(', ')} was applied by another version of HelixFlow.`,
        'Start that version, or restore a backup from before the update.',
      )
    if (pending.length > 0)
      return problem(
        `${pending.join(', ')} is not applied.`,
        "'helixflow db migrate' or the next 'helixflow up' does it.",
      )
    return ok(`${appliedCount} migrations, all applied`)
  },
}
