import { parseSegmentName, segmentName, type TimelineHistory, type WalSegment } from './wal-names.ts'

/** What an archive holds, by the name that PostgreSQL gave each file. */
export interface ArchivedFile {
  readonly name: string
  /** When PostgreSQL last wrote to it: everything committed up to then is in it or in one before. */
  readonly writtenAtMs: number
}

export interface ArchivedTimeline {
  readonly timeline: number
  readonly history: TimelineHistory
  /** When a server left its old timeline for this one. */
  readonly bornAtMs: number
}

export interface ChainRequest {
  readonly files: readonly ArchivedFile[]
  readonly timelines: readonly ArchivedTimeline[]
  readonly segmentBytes: number
  /** The first segment that the backup needs. */
  readonly start: WalSegment
  /** The last segment that the backup itself carries. */
  readonly carried: WalSegment
  /** Segments that are known to have been archived, so that the end of the log cannot go missing unnoticed. */
  readonly owed?: readonly WalSegment[] | undefined
  /** As the database was then; undefined: as it is at the end of the newest timeline. */
  readonly atMs?: number | undefined
}

/** The archived part of the log that leads on from the end of a backup to a moment. */
export interface WalChain {
  readonly timeline: number
  /** In order and without a gap; what comes after one is of no use. */
  readonly segments: readonly ArchivedFile[]
  /** The first file that is needed and not there; undefined when none is. */
  readonly missing: string | undefined
  /** Everything up to then can be recovered; undefined while nothing beyond the backup itself can. */
  readonly endMs: number | undefined
}

/**
 * Follows the log from a backup. A restore starts a new timeline, and what its server had written after the moment
 * restored to stays in the archive on the old one: so a moment belongs to the timeline that was in use at it.
 */
export function walChain(request: ChainRequest): WalChain {
  const { files, segmentBytes, start, carried, atMs } = request
  const target = timelineAt(request)
  const byName = new Map(files.map((file) => [file.name, file]))
  const newest = newestNumber(request, target)
  const segments: ArchivedFile[] = []
  for (let number = start.number; number <= newest; number++) {
    const timeline = timelineOf(number, target, segmentBytes)
    if (timeline === start.timeline && number <= carried.number) continue
    const name = segmentName({ timeline, number }, segmentBytes)
    const file = byName.get(name)
    if (!file) return chainOf(target.timeline, segments, name)
    segments.push(file)
    if (atMs !== undefined && file.writtenAtMs >= atMs) break
  }
  return chainOf(target.timeline, segments, undefined)
}

function chainOf(timeline: number, segments: readonly ArchivedFile[], missing: string | undefined): WalChain {
  return { timeline, segments, missing, endMs: segments.at(-1)?.writtenAtMs }
}

/** The newest timeline that descends from the backup's and was there at the moment. */
function timelineAt({ timelines, segmentBytes, start, carried, atMs }: ChainRequest): ArchivedTimeline {
  const own = { timeline: start.timeline, history: [], bornAtMs: Number.NEGATIVE_INFINITY }
  const descendants = timelines.filter(({ timeline, history, bornAtMs }) => {
    if (timeline <= start.timeline || (atMs !== undefined && bornAtMs > atMs)) return false
    const left = history.find((ancestor) => ancestor.timeline === start.timeline)
    // A timeline that left before the backup was whole leads away from it.
    return left !== undefined && Number(left.endLsn / BigInt(segmentBytes)) >= carried.number
  })
  return descendants.reduce((newest, one) => (one.timeline > newest.timeline ? one : newest), own)
}

/** A new timeline begins with a copy of the segment in which its ancestor ended. */
function timelineOf(number: number, target: ArchivedTimeline, segmentBytes: number): number {
  const ancestor = target.history.find(({ endLsn }) => number < Number(endLsn / BigInt(segmentBytes)))
  return ancestor?.timeline ?? target.timeline
}

/** At least up to where the last ancestor ended: the archive owes what comes before. */
function newestNumber(
  { files, segmentBytes, carried, owed }: ChainRequest,
  target: ArchivedTimeline,
): number {
  const born = target.history.at(-1)
  const before = born ? Number(born.endLsn / BigInt(segmentBytes)) - 1 : 0
  const archived = files.flatMap(({ name }) => parseSegmentName(name, segmentBytes) ?? [])
  return [...archived, ...(owed ?? [])]
    .filter(({ timeline }) => timeline === target.timeline)
    .reduce((newest, { number }) => Math.max(newest, number), Math.max(before, carried.number))
}
