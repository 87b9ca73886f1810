import { readdir, realpath, stat } from 'node:fs/promises'
import { basename, join, sep } from 'node:path'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { type ModelManifest, readManifest } from './model-manifest.ts'

/** A model's file, or the first of its files with the others beside it. */
export interface FolderFile {
  readonly file: string
  readonly path: string
  /** Names of all files of the model, this one first. */
  readonly parts: readonly string[]
  /** Of all parts together. */
  readonly sizeBytes: number
  readonly modifiedAtMs: number
}

const PART = /^(?<stem>.+)-(?<index>\d{5})-of-(?<count>\d{5})\.gguf$/

/**
 * What lies in the folder of models. Nothing outside of it is ever read, also not by way of a symbolic link.
 */
export class ModelFolder {
  private readonly warned = new Set<string>()

  /** @param directory its real path, without symbolic links */
  constructor(
    readonly directory: string,
    private readonly log: Logger,
  ) {}

  /**
   * The path of something in the folder.
   * @throws HelixError `invalid_arguments` when the name would lead out of it
   */
  pathOf(name: string): string {
    const path = join(this.directory, name)
    if (path.startsWith(this.directory + sep) && basename(path) === name) return path
    throw new HelixError(
      'invalid_arguments',
      `${JSON.stringify(name)} is no name of a file in the models folder.`,
    )
  }

  async files(): Promise<FolderFile[]> {
    const names = (await readdir(this.directory)).filter((name) => /\.gguf$/i.test(name)).sort()
    const sizes = new Map<string, { sizeBytes: number; modifiedAtMs: number }>()
    for (const name of names) {
      const found = await this.look(name)
      if (found !== undefined) sizes.set(name, found)
    }
    return [...sizes].flatMap(([file, { modifiedAtMs }]) => {
      const { stem, index, count } = PART.exec(file)?.groups ?? {}
      if (index !== undefined && Number(index) !== 1) return []
      const parts =
        stem === undefined ? [file] : partNames(stem, Number(count)).filter((part) => sizes.has(part))
      const sizeBytes = parts.reduce((sum, part) => sum + (sizes.get(part)?.sizeBytes ?? 0), 0)
      return [{ file, path: this.pathOf(file), parts, sizeBytes, modifiedAtMs }]
    })
  }

  /**
   * Manifests that can be read. A damaged one is told in the log, and its model counts as put here by hand.
   */
  async manifests(): Promise<ModelManifest[]> {
    const names = (await readdir(this.directory)).filter((name) => name.endsWith('.json')).sort()
    const manifests: ModelManifest[] = []
    for (const name of names) {
      try {
        if ((await this.look(name)) === undefined) continue
        const manifest = await readManifest(this.pathOf(name))
        if (`${manifest.name}.json` === name) manifests.push(manifest)
        else this.warnOnce(name, `it is of the model ${manifest.name}`)
      } catch (cause) {
        if (!(cause instanceof HelixError)) throw cause
        this.warnOnce(name, cause.message)
      }
    }
    return manifests
  }

  warnOnce(file: string, reason: string): void {
    if (this.warned.has(file)) return
    this.warned.add(file)
    this.log.warn('file in the models folder passed over', { file, reason })
  }

  /** Undefined for whatever is no regular file of this folder. */
  private async look(name: string): Promise<{ sizeBytes: number; modifiedAtMs: number } | undefined> {
    try {
      const real = await realpath(this.pathOf(name))
      if (!real.startsWith(this.directory + sep)) {
        this.warnOnce(
          name,
          'it is a symbolic link that leads out of the folder; pull the file by its path instead',
        )
        return undefined
      }
      const found = await stat(real)
      return found.isFile() ? { sizeBytes: found.size, modifiedAtMs: found.mtimeMs } : undefined
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
      // Removed just now, or a link to nowhere or to itself.
      if (code === 'ENOENT' || code === 'ELOOP') return undefined
      throw cause
    }
  }
}

function partNames(stem: string, count: number): string[] {
  const digits = (value: number) => String(value).padStart(5, '0')
  return Array.from({ length: count }, (_, index) => `${stem}-${digits(index + 1)}-of-${digits(count)}.gguf`)
}
