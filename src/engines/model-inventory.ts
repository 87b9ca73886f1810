import { HelixError } from '../core/errors.ts'
import { readGgufHeader } from './gguf/read-header.ts'
import type { FolderFile, ModelFolder } from './model-folder.ts'
import type { HeaderFacts, ModelManifest } from './model-manifest.ts'
import { modelNameFrom } from './model-name.ts'

/** A model in the folder: its file, and what is written of it there. */
export interface InventoryEntry {
  readonly name: string
  readonly file: FolderFile
  /** Undefined for a file that was put there by hand, and for one that replaced the file of its manifest. */
  readonly manifest: ModelManifest | undefined
}

export interface HeaderReading {
  readonly header: HeaderFacts | undefined
  /** Why no engine can load the file. */
  readonly invalid: HelixError | undefined
}

/** Which models there are. Looks at the folder anew each time: users and other processes change it too. */
export class ModelInventory {
  private readonly readings = new Map<string, HeaderReading>()

  constructor(private readonly folder: ModelFolder) {}

  /** In order of their names, each of them once. */
  async entries(): Promise<InventoryEntry[]> {
    const [files, manifests] = await Promise.all([this.folder.files(), this.folder.manifests()])
    const entries: InventoryEntry[] = manifests.flatMap((manifest) => {
      const file = files.find((one) => one.file === manifest.file && one.sizeBytes === manifest.sizeBytes)
      return file === undefined ? [] : [{ name: manifest.name, file, manifest }]
    })
    const claimed = new Set(entries.map(({ file }) => file.file))
    const names = new Set(entries.map(({ name }) => name))
    for (const file of files.filter((one) => !claimed.has(one.file))) {
      const name = modelNameFrom(file.file)
      if (name === undefined || names.has(name)) {
        this.folder.warnOnce(file.file, name === undefined ? 'no name can be made of it' : `${name} is taken`)
        continue
      }
      names.add(name)
      entries.push({ name, file, manifest: undefined })
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async find(name: string): Promise<InventoryEntry | undefined> {
    return (await this.entries()).find((entry) => entry.name === name)
  }

  /** What the entry's file says of itself. A file is read once: its header can be megabytes of vocabulary. */
  async header({ file, manifest }: InventoryEntry): Promise<HeaderReading> {
    if (manifest?.header !== undefined) return { header: manifest.header, invalid: undefined }
    const key = `${file.path} ${file.sizeBytes} ${file.modifiedAtMs}`
    const known = this.readings.get(key)
    if (known !== undefined) return known
    const reading = await this.read(file.path)
    this.readings.set(key, reading)
    return reading
  }

  private async read(path: string): Promise<HeaderReading> {
    try {
      return { header: await readHeaderFacts(path), invalid: undefined }
    } catch (cause) {
      if (!(cause instanceof HelixError)) throw cause
      return { header: undefined, invalid: cause }
    }
  }
}

/** @throws HelixError `model_invalid`, `not_found` */
export async function readHeaderFacts(path: string): Promise<HeaderFacts> {
  const { architecture, quantization, contextLength, parameterCount, kind } = await readGgufHeader(path)
  return { architecture, quantization, contextLength, parameterCount, kind }
}
