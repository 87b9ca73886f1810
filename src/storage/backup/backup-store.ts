import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import { syncDirectory } from '../directory-once.ts'
import { removeLeftovers, temporaryBeside } from '../leftovers.ts'
import { type Manifest, readManifest, writeManifest } from './manifest.ts'
import { WalArchive } from './wal-archive.ts'

/** One backup of the folder; without a manifest when that is damaged. */
export interface StoredBackup {
  readonly id: string
  readonly path: string
  readonly manifest: Manifest | undefined
  readonly problem: string | undefined
}

const ID = /^\d{8}T\d{6}Z-[0-9a-f]{4}$/

/** Beside the data directory unless the settings say otherwise: whoever runs the database can reach it there. */
export function backupDirectory(dataDirectory: string, configured: string | undefined): string {
  return configured === undefined ? join(dirname(dataDirectory), 'backups') : resolve(configured)
}

/**
 * The folder of backups: `<id>/` for each, and `wal/<system identifier>/` for the log of each database that was
 * archived into it. A folder with an id as its name is a whole backup.
 */
export class BackupStore {
  constructor(readonly directory: string) {}

  /** Makes the folder. The database's user must pass through it to the log, and need not look around. */
  async prepare(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o711 })
    await chmod(this.directory, process.getuid?.() === 0 ? 0o711 : 0o700)
  }

  archiveOf(systemIdentifier: string): WalArchive {
    return new WalArchive(join(this.directory, 'wal', systemIdentifier))
  }

  /** Newest first. */
  async list(): Promise<readonly StoredBackup[]> {
    const names = await readdir(this.directory).catch(() => [])
    const ids = names.filter((name) => ID.test(name)).sort()
    return Promise.all(ids.reverse().map((id) => this.read(id)))
  }

  /** @throws HelixError `backup_not_found`, `backup_invalid` */
  async get(id: string): Promise<StoredBackup & { readonly manifest: Manifest }> {
    const path = join(this.directory, id)
    const exists = ID.test(id) && (await stat(path).catch(() => undefined)) !== undefined
    if (!exists) {
      throw new HelixError('backup_not_found', `There is no backup ${id} in ${this.directory}.`)
    }
    return { id, path, manifest: await readManifest(path), problem: undefined }
  }

  private async read(id: string): Promise<StoredBackup> {
    try {
      return await this.get(id)
    } catch (reason) {
      const problem = HelixError.from(reason).publicMessage
      return { id, path: join(this.directory, id), manifest: undefined, problem }
    }
  }

  /** Names tell the time, so that a listing of the folder is in order. */
  makeId(nowMs: number): string {
    const time = new Date(nowMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')
    return `${time}Z-${randomBytes(2).toString('hex')}`
  }

  /** A backup that is there whole, with its manifest, or not at all. What a killed process left is removed first. */
  async make(id: string, fill: (content: string) => Promise<Manifest>): Promise<Manifest> {
    return this.withWorkspace(async (content) => {
      const manifest = await fill(content)
      await writeManifest(content, manifest)
      await rename(content, join(this.directory, id))
      await syncDirectory(this.directory)
      return manifest
    })
  }

  /** A folder that goes away with the work, at the latest when the next process comes. */
  async withWorkspace<Result>(work: (workspace: string) => Promise<Result>): Promise<Result> {
    const path = join(this.directory, 'work')
    await removeLeftovers(path)
    const workspace = temporaryBeside(path)
    await mkdir(workspace, { mode: 0o700 })
    try {
      return await work(workspace)
    } finally {
      await rm(workspace, { recursive: true, force: true })
    }
  }

  /** Keeps the newest backups, and of the log what the oldest of them needs. Returns what was removed. */
  async prune(keep: number): Promise<readonly string[]> {
    const whole = (await this.list()).flatMap(({ id, manifest }) => (manifest ? [{ id, manifest }] : []))
    const removed = whole.slice(keep)
    for (const { id } of removed) await this.remove(id)
    const needed = new Map<string, Manifest>()
    // From newest to oldest, so that the oldest stays.
    for (const { manifest } of whole.slice(0, keep)) needed.set(manifest.server.systemIdentifier, manifest)
    for (const [systemIdentifier, { wal }] of needed) {
      await this.archiveOf(systemIdentifier).prune(wal.first, wal.segmentBytes)
    }
    for (const { manifest } of removed) {
      const { systemIdentifier } = manifest.server
      if (needed.has(systemIdentifier)) continue
      await rm(this.archiveOf(systemIdentifier).directory, { recursive: true, force: true })
    }
    return removed.map(({ id }) => id)
  }

  /** Under another name first: half of a backup must not look like one. */
  private remove(id: string): Promise<void> {
    return this.withWorkspace((workspace) => rename(join(this.directory, id), join(workspace, id)))
  }
}
