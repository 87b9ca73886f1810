import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildFailure } from './llama-build-failure.ts'
import { describeFailure, runCommand } from './llama-command.ts'
import type { BuildTools } from './llama-tools.ts'

const OWN_PATCHES = fileURLToPath(new URL('./llama-patches/', import.meta.url))

export interface OwnPatch {
  /** Such as `0001-notice-a-gone-client-in-20-ms`. */
  readonly name: string
  readonly path: string
  readonly text: string
}

/** Our changes to llama.cpp, in the order in which they are applied. Each says in its head what it is for. */
export async function readOwnPatches(): Promise<readonly OwnPatch[]> {
  const paths = await patchesIn(OWN_PATCHES, '.patch')
  const read = async (path: string) => ({
    name: basename(path, '.patch'),
    path,
    text: await readFile(path, 'utf8'),
  })
  return Promise.all(paths.map(read))
}

export interface LayOutOptions {
  /** Holds the bundle and the patches of its maker. */
  readonly package: string
  readonly into: string
  readonly patches: readonly OwnPatch[]
  readonly signal?: AbortSignal | undefined
}

/**
 * Lays out the source tree: the bundle, then the patches with which the prepared libraries were made, without
 * which headers and libraries would not match, then our own.
 * @throws HelixError `engine_build_failed`
 */
export async function layOutSources(tools: BuildTools, options: LayOutOptions): Promise<void> {
  const bundle = join(options.package, 'gitRelease.bundle')
  await git(tools, ['clone', '--quiet', '--template=', bundle, options.into], { signal: options.signal })
  const upstream = await patchesIn(join(options.package, 'patches'), '.diff')
  for (const path of [...upstream, ...options.patches.map((patch) => patch.path)]) {
    await git(tools, ['apply', path], { directory: options.into, signal: options.signal })
  }
}

async function patchesIn(directory: string, ending: string): Promise<string[]> {
  const names = await readdir(directory)
  return names
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(directory, name))
}

async function git(
  tools: BuildTools,
  args: readonly string[],
  options: { readonly directory?: string; readonly signal: AbortSignal | undefined },
): Promise<void> {
  // Where HelixFlow runs inside a git hook, these lead every git to the repository of the hook.
  const apart = ['-u', 'GIT_DIR', '-u', 'GIT_WORK_TREE', '-u', 'GIT_INDEX_FILE', tools.git]
  // The user's own settings may rewrite line ends, and then no patch applies.
  const settings = ['-c', 'core.autocrlf=false', '-c', 'advice.detachedHead=false']
  const result = await runCommand('/usr/bin/env', [...apart, ...settings, ...args], {
    directory: options.directory,
    signal: options.signal,
  })
  if (result.code === 0) return
  const said = `git ${args.join(' ')}: ${describeFailure(result)}`
  throw buildFailure('The source of the engine could not be prepared.', result, said)
}
