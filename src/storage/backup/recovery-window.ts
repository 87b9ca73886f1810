import type { BackupStore } from './backup-store.ts'
import type { Manifest } from './manifest.ts'
import type { WalArchive } from './wal-archive.ts'
import { type WalChain, walChain } from './wal-chain.ts'
import { parseSegmentName } from './wal-names.ts'

export interface WindowRequest {
  readonly store: BackupStore
  readonly manifest: Manifest
  readonly atMs?: number | undefined
  /** The file that the running server archived last, by its own account. */
  readonly lastArchived?: string | undefined
}

export interface RecoveryWindow {
  readonly archive: WalArchive
  readonly chain: WalChain
  /** From here on any moment can be restored. */
  readonly fromMs: number
  /** Up to there. */
  readonly toMs: number
}

/** The moments that a backup can be taken to with the log that is archived now. */
export async function recoveryWindow(request: WindowRequest): Promise<RecoveryWindow> {
  const { store, manifest, atMs, lastArchived } = request
  const { wal, server, createdAtMs } = manifest
  const archive = store.archiveOf(server.systemIdentifier)
  const files = await archive.files()
  const last = parseSegmentName(lastArchived ?? '', wal.segmentBytes)
  const later = (await store.list())
    .flatMap((backup) => backup.manifest ?? [])
    .filter(
      (other) => other.server.systemIdentifier === server.systemIdentifier && other.source === 'embedded',
    )
    .map((other) => ({ timeline: other.wal.timeline, number: other.wal.last }))
  const chain = walChain({
    files,
    timelines: await archive.timelines(files),
    segmentBytes: wal.segmentBytes,
    start: { timeline: wal.timeline, number: wal.first },
    carried: { timeline: wal.timeline, number: wal.last },
    owed: manifest.source === 'embedded' ? [...later, ...(last ? [last] : [])] : [],
    atMs,
  })
  return { archive, chain, fromMs: createdAtMs, toMs: Math.max(createdAtMs, chain.endMs ?? createdAtMs) }
}
