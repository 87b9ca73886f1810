import type { ModelFile } from '../contracts/node.ts'
import type { LocalEngineKind } from '../contracts/pool.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { ModelStore, StoredModel } from '../engines/model-store.ts'
import { readWeightFolder, type WeightFolder } from '../engines/weight-folder.ts'
import type { PageCache } from './devices/page-cache.ts'
import { KeptListing } from './kept-listing.ts'

/** What the configuration says of a model that is a folder, by its name. */
export type FolderSettings = Readonly<
  Record<
    string,
    {
      readonly path?: string | undefined
      readonly engine?: LocalEngineKind | undefined
      readonly engineArguments?: readonly string[] | undefined
    }
  >
>

/** A model of this machine, as the engines that can load it want it. */
export type LocalModel =
  | { readonly kind: 'gguf'; readonly stored: StoredModel }
  | {
      readonly kind: 'folder'
      readonly name: string
      readonly folder: WeightFolder
      /** Added to the engine's command line. */
      readonly engineArguments: readonly string[]
    }

/**
 * The models of this machine: GGUF files in the store, and folders that the configuration names. A folder stays where
 * it is; its quarantine ends with this process, for nothing of ours is written into it.
 */
export class LocalModels {
  private readonly quarantined = new Map<string, string>()
  private readonly listing: KeptListing<StoredModel>

  constructor(
    private readonly store: ModelStore,
    private readonly settings: FolderSettings,
    private readonly pageCache: PageCache,
    clock: Clock,
  ) {
    this.listing = new KeptListing(store, clock)
  }

  async list(): Promise<readonly ModelFile[]> {
    const names = Object.keys(this.settings).filter((name) => this.pathOf(name) !== undefined)
    const folders = await Promise.all(names.map((name) => this.describeFolder(name)))
    const stored = (await this.listing.items()).filter(({ name }) => !names.includes(name))
    const files = stored.map(async (one) => toModelFile(one, await this.pageCache.holds(one.path)))
    return [...(await Promise.all(files)), ...folders].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** @throws HelixError `model_not_found`, `model_invalid` (the folder is none of a model) */
  async get(name: string): Promise<LocalModel> {
    const path = this.pathOf(name)
    if (path === undefined) return { kind: 'gguf', stored: await this.store.get(name) }
    const engineArguments = this.settings[name]?.engineArguments ?? []
    return { kind: 'folder', name, folder: await readWeightFolder(path), engineArguments }
  }

  /** See `ModelFile.revision`. @throws HelixError as `get` */
  async revisionOf(name: string): Promise<string> {
    const model = await this.get(name)
    return model.kind === 'folder' ? model.folder.revision : model.stored.revision
  }

  /** All that an engine reads to load it. @throws HelixError as `get` */
  async filesOf(name: string): Promise<readonly string[]> {
    const model = await this.get(name)
    return model.kind === 'folder' ? model.folder.files : [model.stored.path]
  }

  async quarantine(name: string, reason: string): Promise<void> {
    if (this.pathOf(name) === undefined) return this.inStore(() => this.store.quarantine(name, reason))
    this.quarantined.set(name, reason)
  }

  async release(name: string): Promise<void> {
    if (this.pathOf(name) === undefined) return this.inStore(() => this.store.release(name))
    this.quarantined.delete(name)
  }

  /** Whether there are models for vLLM or SGLang. */
  hasFolders(): boolean {
    return Object.keys(this.settings).some((name) => this.pathOf(name) !== undefined)
  }

  private async inStore(change: () => Promise<void>): Promise<void> {
    await change()
    this.listing.forget()
  }

  private pathOf(name: string): string | undefined {
    return Object.hasOwn(this.settings, name) ? this.settings[name]?.path : undefined
  }

  private async describeFolder(name: string): Promise<ModelFile> {
    const engine = this.settings[name]?.engine === 'sglang' ? 'sglang' : 'vllm'
    const unknown = { engine, sha256: undefined, source: undefined, cached: false } as const
    const quarantinedBecause = this.quarantined.get(name)
    const path = this.pathOf(name) ?? ''
    try {
      const { facts, sizeBytes, revision, modifiedAtMs } = await readWeightFolder(path)
      return {
        ...{ ...unknown, name, sizeBytes, revision, addedAtMs: modifiedAtMs, quarantinedBecause },
        ...{ architecture: facts.architecture, quantization: facts.quantization },
        ...{ trainedContextLength: facts.contextLength, invalidBecause: undefined },
      }
    } catch (cause) {
      const { publicMessage } = HelixError.from(cause)
      return {
        ...{ ...unknown, name, sizeBytes: 0, revision: '', addedAtMs: 0, quarantinedBecause },
        ...{ architecture: undefined, quantization: undefined, trainedContextLength: undefined },
        invalidBecause: publicMessage,
      }
    }
  }
}

/**
 * Which engine runs a model: llama-server a GGUF file, vLLM or SGLang a folder.
 * @param wanted what the configuration asks for; of a folder vLLM unless it does
 * @throws HelixError `invalid_configuration` when that engine does not run such a model
 */
export function engineFor(
  { kind }: Pick<LocalModel, 'kind'>,
  wanted: LocalEngineKind | undefined,
): LocalEngineKind {
  const fitting: readonly LocalEngineKind[] = kind === 'gguf' ? ['llama-server'] : ['vllm', 'sglang']
  const engine = wanted ?? fitting[0] ?? 'llama-server'
  if (fitting.includes(engine)) return engine
  const what = kind === 'gguf' ? 'a GGUF file' : 'a folder of safetensors'
  throw new HelixError(
    'invalid_configuration',
    `${engine} does not run ${what}; ${fitting.join(' and ')} would. Correct models.perModel.<name>.engine in ` +
      'helixflow.yaml, or leave it out.',
  )
}

function toModelFile(model: StoredModel, cached: boolean): ModelFile {
  return {
    name: model.name,
    engine: 'llama-server',
    sizeBytes: model.sizeBytes,
    sha256: model.sha256,
    revision: model.revision,
    source: model.source,
    addedAtMs: model.addedAtMs,
    architecture: model.header?.architecture,
    quantization: model.header?.quantization,
    trainedContextLength: model.header?.contextLength,
    cached,
    quarantinedBecause: model.quarantine?.reason,
    invalidBecause: model.invalidBecause,
  }
}
