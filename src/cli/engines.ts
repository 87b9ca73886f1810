import { Command } from 'commander'
import { HelixError } from '../core/errors.ts'
import { buildLlamaServer } from '../engines/llama-build.ts'
import { type EnsureOptions, ensureLlamaServer } from '../engines/llama-locate.ts'
import { findNvidiaCards } from '../engines/nvidia-cards.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { engineOptions } from './engine.ts'
import { type EngineFinding, findLlamaFindings, findManagedFindings } from './engine-findings.ts'
import { durationText, table } from './output.ts'
import { progressBar } from './progress.ts'

export function enginesCommand(): Command {
  const engines = new Command('engines').description(
    'the programs that run models: which work here, and why not',
  )
  engines.addCommand(
    command('list', 'list the engines found, and whether each works on each kind of device').action(list),
  )
  engines.addCommand(
    command(
      'build',
      'build llama-server for this machine, in about two minutes, and for its NVIDIA cards',
    ).action(build),
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
    if (found.some(({ engine, works }) => works && engine === 'llama-server')) return 0
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
      const options = engineOptions(settings, places, parts)
      const built = await buildLlamaServer(options)
      const problems = await buildForCards(options)
      progress.end()
      const took = durationText(performance.now() - startedMs)
      context.output.result(built, () => `${built.serverPath} is ready after ${took}`)
      for (const problem of problems) context.output.note(problem)
      // The processor has its engine, which is what was asked for.
      return 0
    } finally {
      progress.end()
    }
  })
}

/** @returns what is wrong with each kind of card on which no engine computes */
async function buildForCards(options: EnsureOptions): Promise<readonly string[]> {
  const cards = new Map((await findNvidiaCards(options)).map((card) => [card.name, card]))
  const problems: string[] = []
  for (const card of cards.values()) {
    try {
      await ensureLlamaServer({ ...options, devices: [card] })
    } catch (cause) {
      options.signal?.throwIfAborted()
      problems.push(HelixError.from(cause).publicMessage)
    }
  }
  return problems
}

async function show({
  settings,
  places,
  log,
  signal,
  output,
}: CommandContext): Promise<readonly EngineFinding[]> {
  const options = engineOptions(settings, places, { log, signal, onProgress: () => {} })
  const { vllm, sglang } = settings.config.engines
  const found = [
    ...(await findLlamaFindings(options)),
    ...(await findManagedFindings({ vllm, sglang }, { searchPath: options.searchPath, signal })),
  ]
  output.result(found, () =>
    found.length === 0
      ? "There is no llama-server here yet. 'helixflow engines build' builds one."
      : table(['ENGINE', 'DEVICE', 'ORIGIN', 'VERSION', 'PATCHES', 'WORKS', 'PATH'], found.map(row)),
  )
  return found
}

function row(finding: EngineFinding): readonly string[] {
  const { engine, device, origin, version, patches, works, reason, path } = finding
  const verdict = works ? (device === undefined ? 'installed' : 'yes') : `no: ${reason ?? 'not tried'}`
  return [engine, device ?? '-', origin, version ?? '-', patchNumbers(patches), verdict, path]
}

/** Their numbers; `--json` has the whole names. */
function patchNumbers(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.map((name) => name.split('-', 1)[0]).join(' ')
}
