import { Command } from 'commander'
import { buildLlamaServer } from '../engines/llama-build.ts'
import { findLlamaServers, type LlamaCandidate } from '../engines/llama-locate.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { engineOptions } from './engine.ts'
import { durationText, table } from './output.ts'
import { progressBar } from './progress.ts'

export function enginesCommand(): Command {
  const engines = new Command('engines').description(
    'the programs that run models: which work here, and why not',
  )
  engines.addCommand(command('list', 'list the engines found, and whether each works').action(list))
  engines.addCommand(
    command('build', 'build llama-server for this machine, in about two minutes').action(build),
  )
  engines.addCommand(
    command('doctor', 'try every engine with a test generation; exit code 1 when none works').action(doctor),
  )
  return engines
}

function list(options: CommonOptions): Promise<void> {
  return runCommand(options, async (context) => {
    await show(context)
    return 0
  })
}

function doctor(options: CommonOptions): Promise<void> {
  return runCommand(options, async (context) => {
    const found = await show(context)
    if (found.some(({ works }) => works)) return 0
    context.output.note("No engine works here. 'helixflow engines build' builds one.")
    return 1
  })
}

function build(options: CommonOptions): Promise<void> {
  return runCommand(options, async (context) => {
    const startedMs = performance.now()
    const progress = progressBar()
    const { log, signal, settings, places } = context
    try {
      const parts = { log, signal, onProgress: progress.onProgress }
      const built = await buildLlamaServer(engineOptions(settings, places, parts))
      progress.end()
      const took = durationText(performance.now() - startedMs)
      context.output.result(built, () => `${built.serverPath} is ready after ${took}`)
      return 0
    } finally {
      progress.end()
    }
  })
}

async function show({
  settings,
  places,
  log,
  signal,
  output,
}: CommandContext): Promise<readonly LlamaCandidate[]> {
  const options = engineOptions(settings, places, { log, signal, onProgress: () => {} })
  const found = await findLlamaServers(options)
  output.result(found, () =>
    found.length === 0
      ? "There is no llama-server here yet. 'helixflow engines build' builds one."
      : table(['ORIGIN', 'VERSION', 'PATCHES', 'WORKS', 'PATH'], found.map(row)),
  )
  return found
}

function row({ origin, version, patches, works, reason, serverPath }: LlamaCandidate): readonly string[] {
  return [
    origin,
    version ?? '-',
    patchNumbers(patches),
    works ? 'yes' : `no: ${reason ?? 'not tried'}`,
    serverPath,
  ]
}

/** Their numbers; `--json` has the whole names. */
function patchNumbers(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.map((name) => name.split('-', 1)[0]).join(' ')
}
