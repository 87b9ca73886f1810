import { lstat, mkdir, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { noProgress, type OnProgress } from '../core/progress.ts'
import { type HeldLock, withFileLock } from './file-lock.ts'
import { asDiskFull } from './free-space.ts'
import { hashFile } from './hash-file.ts'
import { type FolderFile, ModelFolder } from './model-folder.ts'
import { type InventoryEntry, ModelInventory, readHeaderFacts } from './model-inventory.ts'
import { type HeaderFacts, type ModelManifest, writeManifest } from './model-manifest.ts'
import { modelNameFrom, requireModelName } from './model-name.ts'
import type { CatalogModel } from './model-sources/catalog.ts'
import { type FetchedModel, fetchModel } from './model-sources/fetch-model.ts'
import { parseModelReference, type WantedModel } from './model-sources/model-sources.ts'
import type { SourceContext, SourceSettings } from './model-sources/source.ts'
import { syncFolder } from './partial-file.ts'

export interface ModelStoreOptions {
  /** Made when it does not exist. */
  readonly directory: string
  readonly sources: SourceSettings
  readonly clock: Clock
  readonly log: Logger
  /** Models that can be pulled by a name alone; by default those that everybody may use. */
  readonly catalog?: readonly CatalogModel[]
}

export interface PullOptions {
  /** What the model is called here; by default made from the name of its file. */
  readonly name?: string | undefined
  /** The only content to accept. */
  readonly sha256?: string | undefined
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
}

export type VerifyOptions = Pick<PullOptions, 'onProgress' | 'signal'>

export interface StoredModel {
  readonly name: string
  /** Of the file, or of the first of several: what an engine is given. */
  readonly path: string
  readonly sizeBytes: number
  /** Undefined until it was needed, for a file that was put here by hand. */
  readonly sha256: string | undefined
  /**
   * Another text for every other content. The time of the file is in it: one that is put over another by hand often has
   * the same size, for example another training of the same model.
   */
  readonly revision: string
  /** In the notation of `helixflow models pull`; undefined when it was put here by hand. */
  readonly source: string | undefined
  readonly licence: string | undefined
  readonly addedAtMs: number
  readonly header: HeaderFacts | undefined
  /** Why no engine can load it. */
  readonly invalidBecause: string | undefined
  readonly quarantine: { readonly reason: string; readonly sinceMs: number } | undefined
}

const PARTIAL_FOLDER = 'partial'
const PARTIAL_AGE_MS_MAX = 7 * 24 * 60 * 60 * 1000

/**
 * The models of this machine: `<name>.gguf` with what is known of it in `<name>.json` beside it. GGUF files
 * that a user puts into the folder are models as well. Several processes may work on one folder.
 */
export class ModelStore {
  private readonly inventory: ModelInventory

  private constructor(
    private readonly folder: ModelFolder,
    private readonly options: ModelStoreOptions,
  ) {
    this.inventory = new ModelInventory(folder)
  }

  /** Also removes what unfinished pulls left more than a week ago. */
  static async open(options: ModelStoreOptions): Promise<ModelStore> {
    await mkdir(join(options.directory, PARTIAL_FOLDER), { recursive: true })
    const directory = await realpath(options.directory)
    await removeOldEntries(join(directory, PARTIAL_FOLDER), options.clock.now() - PARTIAL_AGE_MS_MAX)
    return new ModelStore(new ModelFolder(directory, options.log), options)
  }

  /** All models in order of their names, also those that cannot be used. Hashes nothing. */
  async list(): Promise<StoredModel[]> {
    const entries = await this.inventory.entries()
    return Promise.all(entries.map((entry) => this.describe(entry)))
  }

  /** When a file or a manifest was last added, taken out or replaced by another, as the folder says. */
  async changedAtMs(): Promise<number> {
    return (await stat(this.folder.directory)).mtimeMs
  }

  /** @throws HelixError `invalid_arguments` (no name for a model), `model_not_found` */
  async get(name: string): Promise<StoredModel> {
    return this.describe(await this.require(name))
  }

  /**
   * Fetches a model, or does nothing when the same content is already there under that name. It appears
   * whole, verified and readable, or not at all.
   * @param reference a name in the catalog, or a place: see `parseModelReference`
   * @throws HelixError `invalid_arguments`, `model_exists`, `model_invalid`, and what `fetchModel` throws;
   *   the signal's reason when it aborts
   */
  async pull(reference: string, options: PullOptions = {}): Promise<StoredModel> {
    const wanted = withSha256(parseModelReference(reference, this.options.catalog), options.sha256)
    const name = nameFor(wanted, options.name)
    return this.locked(name, options, async (lock) => {
      const pull: Pull = { name, wanted, lock, context: this.contextOf(options) }
      const present = await this.inventory.find(name)
      if (present !== undefined) return this.requireSame(present, pull)
      await this.requireFreePath(name)
      return (await this.adopt(pull)) ?? this.fetch(pull)
    })
  }

  /** Whether anybody uses the model is for the caller to know. @throws HelixError as `get` */
  async remove(name: string): Promise<void> {
    await this.locked(requireModelName(name), {}, async () => {
      const { file } = await this.require(name)
      // The manifest last: without its file it is of nothing, and the next pull replaces it.
      for (const part of file.parts) await rm(this.folder.pathOf(part))
      await rm(this.folder.pathOf(`${name}.json`), { force: true })
      await syncFolder(this.folder.directory)
    })
  }

  /**
   * Marks the model as not to be loaded, until it is released or its file replaced. @throws HelixError as
   * `get`
   */
  async quarantine(name: string, reason: string): Promise<void> {
    await this.change(name, { quarantine: { reason, sinceMs: this.options.clock.now() } })
  }

  /** @throws HelixError as `get` */
  async release(name: string): Promise<void> {
    await this.change(name, { quarantine: undefined })
  }

  /**
   * Reads the whole file again and returns its SHA-256, which is from then on known where it was not.
   * @throws HelixError `checksum_mismatch` when it is not what was once put there; `not_implemented` for a
   *   model in several files; and as `get`
   */
  async verify(name: string, options: VerifyOptions = {}): Promise<string> {
    const { file, manifest } = await this.require(name)
    const found = await hashOf(file, options)
    if (manifest?.sha256 === undefined) await this.change(name, { sha256: found })
    else if (manifest.sha256 !== found) {
      throw new HelixError(
        'checksum_mismatch',
        `${file.path} has the SHA-256 ${found}, but had ${manifest.sha256} when it came: it was changed or ` +
          `damaged. Remove it with 'helixflow models rm ${name}' and pull it again.`,
      )
    }
    return found
  }

  private async require(name: string): Promise<InventoryEntry> {
    const entry = await this.inventory.find(requireModelName(name))
    if (entry !== undefined) return entry
    throw new HelixError(
      'model_not_found',
      `There is no model '${name}'. 'helixflow models list' shows those that are there.`,
      { param: 'model' },
    )
  }

  private async describe(entry: InventoryEntry): Promise<StoredModel> {
    const { name, file, manifest } = entry
    const { header, invalid } = await this.inventory.header(entry)
    return {
      name,
      path: file.path,
      sizeBytes: file.sizeBytes,
      sha256: manifest?.sha256,
      revision: `${manifest?.sha256 ?? ''}:${file.sizeBytes}:${file.modifiedAtMs}`,
      source: manifest?.source,
      licence: manifest?.licence,
      addedAtMs: manifest?.addedAtMs ?? file.modifiedAtMs,
      header,
      invalidBecause: invalid?.publicMessage,
      quarantine: manifest?.quarantine,
    }
  }

  /** The model that is there, if it is the wanted one. */
  private async requireSame(present: InventoryEntry, { name, wanted, context }: Pull): Promise<StoredModel> {
    const { file, manifest } = present
    const [origin] = wanted.origins
    const couldBe = wanted.sizeBytes === undefined || wanted.sizeBytes === file.sizeBytes
    if (wanted.sha256 === undefined && origin.immutable && manifest?.source === origin.source) {
      return this.describe(present)
    }
    const wantedSha256 = wanted.sha256 ?? (await origin.identify?.(context))
    if (couldBe && wantedSha256 !== undefined) {
      const presentSha256 = manifest?.sha256 ?? (await hashOf(file, context))
      if (presentSha256 === wantedSha256) return this.record(present, { sha256: presentSha256 })
    }
    const where = manifest?.source === undefined ? '' : `, from ${manifest.source}`
    throw new HelixError(
      'model_exists',
      `There is already a model '${name}'${where}, and it is not known to be the same. Give the new one another ` +
        `name with --name, or first remove the present one with 'helixflow models rm ${name}'.`,
    )
  }

  /**
   * A file that a user put into the folder, under whatever name, is the first place to look for a model whose
   * content is known. It stays where it is.
   */
  private async adopt({ name, wanted, context }: Pull): Promise<StoredModel | undefined> {
    const { sha256, sizeBytes, licence } = wanted
    if (sha256 === undefined || sizeBytes === undefined) return undefined
    for (const entry of await this.inventory.entries()) {
      if (entry.manifest?.source !== undefined || entry.file.sizeBytes !== sizeBytes) continue
      if ((entry.manifest?.sha256 ?? (await hashOf(entry.file, context))) !== sha256) continue
      const model = await this.record(entry, { name, sha256, licence, addedAtMs: this.options.clock.now() })
      if (entry.manifest !== undefined) await rm(this.folder.pathOf(`${entry.name}.json`), { force: true })
      return model
    }
    return undefined
  }

  private async fetch(pull: Pull): Promise<StoredModel> {
    const { name, wanted, context } = pull
    const { sha256, sizeBytes } = wanted
    const workspace = join(this.partialFolder, name)
    await mkdir(workspace, { recursive: true })
    try {
      const into = join(workspace, `${name}.gguf`)
      const fetched = await fetchModel(wanted, { ...context, into, sha256, sizeBytes }, this.folder.directory)
      return await this.land(pull, into, fetched)
    } catch (cause) {
      const error = await asDiskFull(cause, workspace)
      const worthless = error instanceof HelixError && LEAVES_NOTHING.has(error.code)
      if (worthless || (await readdir(workspace)).length === 0) await rm(workspace, { recursive: true })
      throw error
    }
  }

  private async land(
    { name, wanted, lock }: Pull,
    from: string,
    fetched: FetchedModel,
  ): Promise<StoredModel> {
    const header = await readHeaderFacts(from)
    await lock.requireHeld()
    // The manifest first: without its file it is of nothing, whereas a file alone would look put here by
    // hand.
    const { sha256, sizeBytes, source } = fetched
    const { licence } = wanted
    const addedAtMs = this.options.clock.now()
    const file = `${name}.gguf`
    await writeManifest(this.folder.pathOf(`${name}.json`), {
      name,
      file,
      sizeBytes,
      sha256,
      source,
      licence,
      addedAtMs,
      header,
    })
    await rename(from, this.folder.pathOf(file))
    await syncFolder(this.folder.directory)
    await rm(join(this.partialFolder, name), { recursive: true })
    return this.get(name)
  }

  private async change(name: string, changes: Partial<ModelManifest>): Promise<void> {
    await this.locked(requireModelName(name), {}, async () => {
      await this.record(await this.require(name), changes)
    })
  }

  private async record(entry: InventoryEntry, changes: Partial<ModelManifest>): Promise<StoredModel> {
    const { file } = entry
    const manifest: ModelManifest = {
      name: entry.name,
      file: file.file,
      sizeBytes: file.sizeBytes,
      addedAtMs: file.modifiedAtMs,
      header: (await this.inventory.header(entry)).header,
      ...entry.manifest,
      ...changes,
    }
    await writeManifest(this.folder.pathOf(`${manifest.name}.json`), manifest)
    return this.describe({ name: manifest.name, file, manifest })
  }

  /** Something that is no model of ours has the path: a folder, or a link that leads out. */
  private async requireFreePath(name: string): Promise<void> {
    const file = `${name}.gguf`
    if (!(await readdir(this.folder.directory)).includes(file)) return
    throw new HelixError(
      'model_exists',
      `${this.folder.pathOf(file)} is in the way. Move it away, or give the model another name with --name.`,
    )
  }

  private async locked<T>(
    name: string,
    options: VerifyOptions,
    work: (lock: HeldLock) => Promise<T>,
  ): Promise<T> {
    const { signal, onProgress = noProgress } = options
    const onWaiting = (pid: number) =>
      onProgress({ step: `waiting for process ${pid}, which works on ${name} too`, done: 0, unit: 'steps' })
    return withFileLock(join(this.partialFolder, `${name}.lock`), { signal, onWaiting }, work)
  }

  private contextOf({ onProgress = noProgress, signal }: PullOptions): SourceContext {
    return { settings: this.options.sources, onProgress, signal }
  }

  private get partialFolder(): string {
    return join(this.folder.directory, PARTIAL_FOLDER)
  }
}

interface Pull {
  readonly name: string
  readonly wanted: WantedModel
  readonly lock: HeldLock
  readonly context: SourceContext
}

/** After these, what has arrived is of no use, or the room that it takes is needed. */
const LEAVES_NOTHING: ReadonlySet<string> = new Set(['model_invalid', 'checksum_mismatch', 'disk_full'])

function withSha256(wanted: WantedModel, given: string | undefined): WantedModel {
  if (given === undefined) return wanted
  const sha256 = given.toLowerCase()
  if (!/^[0-9a-f]{64}$/.test(sha256)) {
    throw new HelixError('invalid_arguments', `'${given}' is no SHA-256: that has 64 digits from 0 to f.`)
  }
  if (wanted.sha256 !== undefined && wanted.sha256 !== sha256) {
    throw new HelixError(
      'invalid_arguments',
      `${wanted.fileName} has the SHA-256 ${wanted.sha256} in the catalog, not ${sha256}. Leave --sha256 out.`,
    )
  }
  return { ...wanted, sha256 }
}

function nameFor({ fileName }: WantedModel, given: string | undefined): string {
  if (given !== undefined) return requireModelName(given)
  const name = modelNameFrom(fileName)
  if (name !== undefined) return name
  throw new HelixError(
    'invalid_arguments',
    `No name for the model can be made of '${fileName}'. Give one by --name.`,
  )
}

async function hashOf({ path, parts, sizeBytes }: FolderFile, options: VerifyOptions): Promise<string> {
  if (parts.length === 1) return hashFile(path, { sizeBytes, ...options })
  throw new HelixError(
    'not_implemented',
    `${path} is a model in several files, which has no SHA-256 as a whole.`,
  )
}

/** Old by the newest thing in them: a download in progress touches its file, and its lock, all the time. */
async function removeOldEntries(folder: string, beforeMs: number): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    const contents = entry.isDirectory() ? await readdir(path) : []
    const times = await Promise.all([path, ...contents.map((name) => join(path, name))].map(modifiedAtMs))
    if (Math.max(...times) < beforeMs) await rm(path, { recursive: true, force: true })
  }
}

/** Minus infinity for what another process removed just now. */
async function modifiedAtMs(path: string): Promise<number> {
  try {
    return (await lstat(path)).mtimeMs
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return Number.NEGATIVE_INFINITY
    throw cause
  }
}
