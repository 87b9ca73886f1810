import { Command } from 'commander'
import { DEFAULT_ORGANISATION } from '../contracts/auth.ts'
import { HelixError } from '../core/errors.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { sizeText } from './output.ts'

export function cacheCommand(): Command {
  const cache = new Command('cache').description('answers that are kept to be given again')
  cache.addCommand(command('stats', 'what is kept in the memory of the running server').action(stats))
  cache.addCommand(
    command('invalidate', 'kept answers are not given again; at least one of --tags, --model, --all')
      .option('--tags <tags>', 'those that were asked for with one of these tags, as a,b')
      .option('--model <name>', 'those of this model')
      .option('--all', 'all of the organisation')
      .option('--organisation <id>', `whose they are (default: ${DEFAULT_ORGANISATION})`)
      .action(invalidate),
  )
  return cache
}

interface CacheStats {
  readonly entries: number
  readonly bytes: number
  readonly vectorsKept: string
}

function stats(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const held = await control.get<CacheStats>('/admin/v1/cache')
    const { entries, bytes, vectorsKept } = held
    output.result(held, () => `${entries} answers, ${sizeText(bytes)}\nvectors of questions: ${vectorsKept}`)
    return 0
  })
}

interface InvalidateFlags extends CommonOptions {
  readonly tags?: string
  readonly model?: string
  readonly all?: boolean
  readonly organisation?: string
}

function invalidate(options: InvalidateFlags): Promise<void> {
  const { tags, model, all, organisation } = options
  return runCommand(options, async ({ control, output }) => {
    if (tags === undefined && model === undefined && all === undefined)
      throw new HelixError('invalid_arguments', 'Name --tags, --model or --all.')
    const names = { tags: tags?.split(',').map((tag) => tag.trim()), model, all }
    const done = await control.post<object>('/admin/v1/cache/invalidate', names, organisation)
    output.result(done, () => 'invalidated')
    return 0
  })
}
