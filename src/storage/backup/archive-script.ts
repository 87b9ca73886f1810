import { access, open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { SystemUser } from '../run-command.ts'

/**
 * A file in the data directory. While it is missing, finished log files are let go instead of archived: so the
 * first backup starts the archive without a restart, nobody who makes none pays for it, and an archive folder that
 * is missing later (a disk that is not mounted) is a failure and not a quiet gap.
 */
const SCRIPT = 'helixflow-archive.sh'

/**
 * The file lands under its name in one step, and is on the disk by then. One that is there already must be the same:
 * two servers that write to one archive would ruin it. A script, since PostgreSQL 15 cuts a command after 1023 bytes.
 */
const SCRIPT_TEXT = `# Puts a finished log file of PostgreSQL into an archive: sh ${SCRIPT} FOLDER PATH NAME
# Written by HelixFlow at each start. Without this file nothing is archived.
final="$1/$3.gz"
draft="$1/.$3.tmp"
if test -e "$final"; then
  gzip -d -c "$final" | cmp -s - "$2" && exit 0
  echo "another file of that name is in the archive: $final" >&2
  exit 1
fi
# Not every flipped bit of a compressed file shows when it is decompressed.
sum="$1/$3.sum"
# The time of the last write goes along: it tells up to when the log reaches.
gzip -1 -n -c "$2" > "$draft" && touch -r "$2" "$draft" && sync "$draft" \\
  && cksum < "$draft" > "$sum" && sync "$sum" && mv "$draft" "$final" && sync "$1" && exit 0
rm -f "$draft" "$sum"
exit 1
`

/** Archiving begins. */
export async function writeArchiveScript(dataDirectory: string, user: SystemUser | undefined): Promise<void> {
  const path = join(dataDirectory, SCRIPT)
  // The server may run it at this moment.
  const draft = `${path}.new`
  const file = await open(draft, 'w', 0o600)
  try {
    await file.writeFile(SCRIPT_TEXT)
    if (user) await file.chown(user.uid, user.gid)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
}

/** One that an older version wrote, or that came back with a backup, is brought up to date. */
export async function renewArchiveScript(dataDirectory: string, user: SystemUser | undefined): Promise<void> {
  const present = await access(join(dataDirectory, SCRIPT)).then(
    () => true,
    () => false,
  )
  if (present) await writeArchiveScript(dataDirectory, user)
}

/** What the server runs for each finished log file. */
export function archiveCommand(directory: string): string {
  return `test ! -e ${SCRIPT} || sh ${SCRIPT} ${quoted(directory)} "%p" "%f"`
}

/**
 * What a recovering server runs to get a file back. Missing is an answer (1), at the end of the log a normal one.
 * Damaged is not: by a status above 125 the server stops, where it would otherwise take it for the end.
 */
export function restoreCommand(directory: string): string {
  const folder = quoted(directory)
  return `test -e ${folder}/%f.gz || exit 1; gzip -d -c ${folder}/%f.gz > "%p" || exit 200`
}

/** For a shell, and for PostgreSQL, to which a percent sign means something. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''").replaceAll('%', '%%')}'`
}
