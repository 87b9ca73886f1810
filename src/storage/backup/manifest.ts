import { createHash } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { HelixError } from '../../core/errors.ts'

/** A path inside the backup, which a restore will write to: never one that leads out of it. */
const path = z.string().refine((text) => !text.startsWith('/') && !text.split('/').includes('..'))

const Content = z.strictObject({
  structure: z.string(),
  tables: z.array(z.strictObject({ name: z.string(), rows: z.string(), digest: z.string() })).readonly(),
})

const Manifest = z.strictObject({
  format: z.literal(1),
  id: z.string(),
  source: z.enum(['embedded', 'external']),
  startedAtMs: z.number(),
  /** By the database's own clock. The earliest moment that can be restored. */
  createdAtMs: z.number(),
  server: z.strictObject({
    version: z.string(),
    majorVersion: z.int(),
    systemIdentifier: z.string(),
    superuser: z.string(),
    database: z.string(),
    /** A server that replays the log must have at least these. */
    settings: z.record(z.string(), z.string()),
  }),
  wal: z.strictObject({
    timeline: z.int(),
    segmentBytes: z.int(),
    startLsn: z.string(),
    stopLsn: z.string(),
    /** Numbers of the first and last segment that come with the backup. */
    first: z.int(),
    last: z.int(),
  }),
  /** What the database held at a point of the log, for `verify` to compare with; see `leaveWitness`. */
  witness: z
    .strictObject({ restorePoint: z.string(), lsn: z.string(), content: Content.optional() })
    .optional(),
  /** By file name. What the database holds is of no use without them. */
  secrets: z.record(
    z.string().regex(/^[\w.-]+$/),
    z.strictObject({ fingerprint: z.string(), included: z.boolean() }),
  ),
  sizeBytes: z.number(),
  directories: z.array(path),
  files: z.array(z.strictObject({ path, sizeBytes: z.number(), sha256: z.string() })),
})

export type Manifest = z.output<typeof Manifest>
export type FileRecord = Manifest['files'][number]

const FILE = 'manifest.json'

/** Everything else in the backup is told by it, and its last line tells of itself. */
export async function writeManifest(backup: string, manifest: Manifest): Promise<void> {
  const text = `${JSON.stringify(manifest, undefined, 1)}\n`
  const file = await open(join(backup, FILE), 'wx', 0o600)
  try {
    await file.writeFile(`${text}sha256 ${sha256(text)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** @throws HelixError `backup_invalid` */
export async function readManifest(backup: string): Promise<Manifest> {
  let whole: string
  try {
    whole = await readFile(join(backup, FILE), 'utf8')
  } catch (cause) {
    throw invalid(`its ${FILE} cannot be read`, cause)
  }
  const [, text = '', checksum] = /^(.*\n)sha256 ([0-9a-f]{64})\n$/s.exec(whole) ?? []
  if (checksum === undefined || sha256(text) !== checksum) throw invalid(`its ${FILE} is damaged`)
  const parsed = Manifest.safeParse(JSON.parse(text))
  if (parsed.success) return parsed.data
  throw invalid(`its ${FILE} is of another format than this version of HelixFlow reads`, parsed.error)
}

function invalid(reason: string, cause?: unknown): HelixError {
  return new HelixError('backup_invalid', `The backup cannot be used: ${reason}.`, { cause })
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
