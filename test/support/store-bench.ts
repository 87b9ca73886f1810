import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ManualClock } from '../../src/core/clock.ts'
import { type LogFields, silentLog } from '../../src/core/log.ts'
import { writeTinyModel } from '../../src/engines/gguf/tiny-model.ts'
import type { CatalogModel } from '../../src/engines/model-sources/catalog.ts'
import { ModelStore, type ModelStoreOptions } from '../../src/engines/model-store.ts'
import { FileServer, serving } from './file-server.ts'
import { sha256Of, sourceSettings } from './model-sources.ts'

/**
 * A folder for one store, two small real models, and a server that gives the first of them for every path.
 */
export class StoreBench {
  /** What the store wrote to the log. */
  readonly warnings: LogFields[] = []
  readonly nowMs = 1_800_000_000_000

  private constructor(
    readonly root: string,
    /** The store's own folder; not made yet. */
    readonly directory: string,
    readonly server: FileServer,
    readonly tiny: Buffer,
    readonly other: Buffer,
  ) {}

  static async start(): Promise<StoreBench> {
    const root = await realpath(await mkdtemp(join(tmpdir(), 'helixflow-store-')))
    const make = async (seed: number) => {
      const path = join(root, `${seed}.gguf`)
      await writeTinyModel(path, { seed, vocabSize: 300, layers: 1 })
      return readFile(path)
    }
    const [tiny, other] = [await make(1), await make(2)]
    const server = await FileServer.start(serving(tiny, { etag: '"tiny"' }))
    return new StoreBench(root, join(root, 'models'), server, tiny, other)
  }

  async stop(): Promise<void> {
    await this.server.stop()
    await rm(this.root, { recursive: true, force: true })
  }

  openStore(changes: Partial<ModelStoreOptions> = {}): Promise<ModelStore> {
    const warn = (_event: string, fields?: LogFields) => void this.warnings.push(fields ?? {})
    return ModelStore.open({
      directory: this.directory,
      sources: sourceSettings({ huggingFace: { endpoint: this.server.url } }),
      clock: new ManualClock(this.nowMs),
      log: { ...silentLog, warn },
      ...changes,
    })
  }

  /** A catalog in which the first model has the name `tiny-chat`. */
  catalogWith(...sources: [string, ...string[]]): CatalogModel[] {
    const { length: sizeBytes } = this.tiny
    return [{ name: 'tiny-chat', sha256: sha256Of(this.tiny), sizeBytes, licence: 'CC0-1.0', sources }]
  }

  url(file = 'Tiny-Model.gguf'): string {
    return `${this.server.url}/${file}`
  }

  /** The path of a file outside of the store with that model. */
  path(model: 1 | 2): string {
    return join(this.root, `${model}.gguf`)
  }

  /** Puts a file into the store's folder, as a user would. */
  async drop(name: string, content: Buffer = this.tiny): Promise<void> {
    await mkdir(this.directory, { recursive: true })
    await writeFile(join(this.directory, name), content)
  }
}
