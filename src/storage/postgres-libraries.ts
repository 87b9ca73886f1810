import { access } from 'node:fs/promises'
import { join } from 'node:path'

/** Where the loadable libraries of a PostgreSQL lie, from its folder of programs: Debian, npm and Homebrew, Fedora. */
const LIBRARY_PLACES = ['../lib', '../lib/postgresql', '../lib64/pgsql', '../lib/pgsql'] as const

const SUFFIXES = ['.so', '.dylib'] as const

/** Whether a library can be preloaded; naming one that is not there would keep the server from starting. */
export async function hasLibrary(programs: string, name: string): Promise<boolean> {
  const paths = LIBRARY_PLACES.flatMap((place) =>
    SUFFIXES.map((suffix) => join(programs, place, `${name}${suffix}`)),
  )
  const found = await Promise.all(
    paths.map((path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    ),
  )
  return found.includes(true)
}
