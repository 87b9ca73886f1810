import { HelixError } from '../../core/errors.ts'
import type { BackupStore } from './backup-store.ts'
import type { Manifest } from './manifest.ts'
import { recoveryWindow } from './recovery-window.ts'

/** What the command line shows of a backup. */
export interface BackupView {
  readonly id: string
  readonly source: Manifest['source']
  readonly createdAtMs: number
  readonly sizeBytes: number
  readonly files: number
  readonly serverVersion: string
  /** Whether it brings the secrets that its data needs. */
  readonly secrets: boolean
}

export interface ListedBackup extends Partial<BackupView> {
  readonly id: string
  /** Every moment from `createdAtMs` to this one can be restored. */
  readonly restorableToMs?: number
  /** Why it cannot be used, as far as that can be told without reading it all. */
  readonly problem?: string
}

export function viewOf({ id, source, createdAtMs, sizeBytes, files, server, secrets }: Manifest): BackupView {
  return {
    id,
    source,
    createdAtMs,
    sizeBytes,
    files: files.length,
    serverVersion: server.version,
    secrets: Object.values(secrets).every(({ included }) => included),
  }
}

/** Newest first. `verify` looks deeper. */
export async function listBackups(store: BackupStore): Promise<readonly ListedBackup[]> {
  return Promise.all(
    (await store.list()).map(async ({ id, manifest, problem }) => {
      if (!manifest) return { id, ...(problem !== undefined && { problem }) }
      const view = viewOf(manifest)
      try {
        const { chain, toMs } = await recoveryWindow({ store, manifest })
        const gap = chain.missing !== undefined && { problem: `WAL file ${chain.missing} is missing` }
        return { ...view, restorableToMs: toMs, ...gap }
      } catch (reason) {
        return { ...view, problem: HelixError.from(reason).publicMessage }
      }
    }),
  )
}
