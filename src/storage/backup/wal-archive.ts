import { createReadStream, createWriteStream } from 'node:fs'
import {
  chmod,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip, gunzipSync } from 'node:zlib'
import { HelixError } from '../../core/errors.ts'
import { syncDirectory } from '../directory-once.ts'
import type { SystemUser } from '../run-command.ts'
import { PosixCksum } from './posix-cksum.ts'
import type { ArchivedFile, ArchivedTimeline } from './wal-chain.ts'
import { parseHistory, parseSegmentName, type TimelineHistory } from './wal-names.ts'

const SUFFIX = '.gz'

/**
 * The write-ahead log of one database cluster, as its server archives it: one compressed file for each. A segment
 * that was cut short after a minute is mostly zeros, and sixteen megabytes a minute would be 23 GB a day.
 */
export class WalArchive {
  constructor(readonly directory: string) {}

  /** Makes the folder, for the database's user. */
  async prepare(user: SystemUser | undefined): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    await chmod(this.directory, 0o700)
    // That user must pass through here too, and the folder above lets it.
    if (user) await chmod(dirname(this.directory), 0o711)
    if (user) await this.giveTo(user)
  }

  /** Files that came here with another user's number, from another machine, could not be read by the server. */
  private async giveTo(user: SystemUser): Promise<void> {
    const names = await readdir(this.directory)
    for (const path of [this.directory, ...names.map((name) => join(this.directory, name))]) {
      const { uid } = await stat(path)
      if (uid !== user.uid) await chown(path, user.uid, user.gid)
    }
  }

  /** In the order of their names. */
  async files(): Promise<readonly ArchivedFile[]> {
    const names = await readdir(this.directory).catch(() => [])
    const archived = names.filter((name) => /^[0-9A-F]{8}.*\.gz$/.test(name)).sort()
    const files = await Promise.all(
      archived.map(async (name) => {
        const found = await stat(join(this.directory, name)).catch(() => undefined)
        return found && { name: name.slice(0, -SUFFIX.length), writtenAtMs: Math.floor(found.mtimeMs) }
      }),
    )
    return files.filter((file) => file !== undefined)
  }

  async timelines(files: readonly ArchivedFile[]): Promise<readonly ArchivedTimeline[]> {
    const histories = files.filter(({ name }) => /^[0-9A-F]{8}\.history$/.test(name))
    return Promise.all(
      histories.map(async ({ name, writtenAtMs }) => ({
        timeline: Number.parseInt(name.slice(0, 8), 16),
        history: await this.readHistory(name),
        bornAtMs: writtenAtMs,
      })),
    )
  }

  private async readHistory(name: string): Promise<TimelineHistory> {
    try {
      return parseHistory(gunzipSync(await readFile(this.path(name))).toString())
    } catch (cause) {
      throw new HelixError('backup_invalid', `The file ${name} in ${this.directory} is damaged.`, { cause })
    }
  }

  path(name: string): string {
    return join(this.directory, `${name}${SUFFIX}`)
  }

  /** Where the checksum of the compressed file is kept. */
  sumPath(name: string): string {
    return join(this.directory, `${name}.sum`)
  }

  async extract(name: string, to: string, signal?: AbortSignal): Promise<void> {
    await pipeline(
      createReadStream(this.path(name)),
      createGunzip(),
      createWriteStream(to, { mode: 0o600, flush: true }),
      { signal },
    )
  }

  /**
   * Takes in a file that a server finished and did not live to archive.
   * @param user who is to own it
   */
  async add(path: string, name: string, user: SystemUser | undefined): Promise<void> {
    const temporary = join(this.directory, `.${name}.tmp`)
    await pipeline(
      createReadStream(path),
      createGzip({ level: 1 }),
      createWriteStream(temporary, { mode: 0o600, flush: true }),
    )
    const { atime, mtime } = await stat(path)
    await utimes(temporary, atime, mtime)
    const sum = this.sumPath(name)
    await writeFile(sum, `${await cksumOf(temporary)}\n`, { mode: 0o600, flush: true })
    for (const made of user ? [temporary, sum] : []) await chown(made, user?.uid ?? 0, user?.gid ?? 0)
    await rename(temporary, this.path(name))
    await syncDirectory(this.directory)
  }

  /** Removes what comes before that segment, of whichever timeline. Histories stay: they are small, and the map. */
  async prune(before: number, segmentBytes: number): Promise<void> {
    for (const { name } of await this.files()) {
      const segment = parseSegmentName(name.slice(0, 24), segmentBytes)
      if (!segment || segment.number >= before) continue
      await rm(this.path(name), { force: true })
      await rm(this.sumPath(name), { force: true })
    }
  }

  /** Whether that file is whole in the archive: its place in it is atomic, so being there is enough. */
  async has(name: string): Promise<boolean> {
    return open(this.path(name)).then(
      async (file) => {
        await file.close()
        return true
      },
      () => false,
    )
  }
}

/** As the command `cksum` would say it. */
export async function cksumOf(path: string): Promise<string> {
  const cksum = new PosixCksum()
  for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) cksum.update(piece)
  return cksum.digest()
}
