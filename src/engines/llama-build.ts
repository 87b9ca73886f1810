import { createHash } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { OnProgress } from '../core/progress.ts'
import { withFileLock } from './file-lock.ts'
import { freeBytes } from './free-space.ts'
import { asBuildFailure, BUILD_BYTES, buildDiskFull } from './llama-build-failure.ts'
import { COMPILE_FLAGS, compileLlamaServer, LINK_FLAGS, NO_WEB_UI } from './llama-compile.ts'
import {
  canBuildFor,
  fetchLlamaPackages,
  LLAMA_CPP_RELEASE,
  LLAMA_PACKAGE_VERSION,
} from './llama-packages.ts'
import { layOutSources, type OwnPatch, readOwnPatches } from './llama-patches.ts'
import { type BuildTools, findBuildTools, type ToolOptions } from './llama-tools.ts'

export interface BuildOptions extends ToolOptions {
  /** Builds of all versions and platforms lie here side by side. */
  readonly cacheDirectory: string
  readonly onProgress: OnProgress
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
  /** Our changes to the source; undefined: all of them. None makes the server as upstream has it, to compare with. */
  readonly patches?: readonly OwnPatch[] | undefined
}

export interface LlamaBuild {
  readonly directory: string
  readonly serverPath: string
  readonly fitParamsPath: string
  /** Such as `v0.5.0`. */
  readonly version: string
  /** The names of our patches that are in it. */
  readonly patches: readonly string[]
}

const BUILD_FILE = 'build.json'

/** Goes up with what a build's folder holds, so that nobody finds one of an older form. */
const BUILD_FORMAT = 2

/** What `build.json` says. It is written last: a folder without it is no build. */
const BuildFile = z.object({
  llamaCpp: z.string(),
  package: z.string(),
  platform: z.string(),
  patches: z.array(z.string()),
})

/** The build that fits this machine and this version of HelixFlow, if it was made already. */
export async function findLlamaBuild(
  cacheDirectory: string,
  patches?: readonly OwnPatch[],
): Promise<LlamaBuild | undefined> {
  const directory = join(cacheDirectory, buildName(patches ?? (await readOwnPatches())))
  const text = await readFile(join(directory, BUILD_FILE), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const facts = BuildFile.parse(JSON.parse(text))
  return {
    directory,
    serverPath: join(directory, 'llama-server'),
    fitParamsPath: join(directory, 'llama-fit-params'),
    version: facts.llamaCpp,
    patches: facts.patches,
  }
}

/** The names of our patches in the engine in this folder; none where it is no build of ours. */
export async function patchesOfBuild(directory: string): Promise<readonly string[]> {
  try {
    return BuildFile.parse(JSON.parse(await readFile(join(directory, BUILD_FILE), 'utf8'))).patches
  } catch {
    return []
  }
}

/**
 * Makes `llama-server` and `llama-fit-params` from pinned source, or returns those that an earlier call made.
 * About two minutes on two cores and 50 MB of download. Of two calls at once, in whichever processes, one builds
 * and the other waits for it. Leaves nothing behind when it fails or is aborted.
 * @throws HelixError `engine_missing` (no prepared libraries for this platform), `compiler_missing`, `disk_full`,
 *   `checksum_mismatch`, `engine_build_failed`; the signal's reason when it aborts
 */
export async function buildLlamaServer(options: BuildOptions): Promise<LlamaBuild> {
  const patches = options.patches ?? (await readOwnPatches())
  const present = await findLlamaBuild(options.cacheDirectory, patches)
  if (present) return present
  if (!canBuildFor(platform())) throw noLibraries()
  const tools = await findBuildTools(options)
  try {
    return await buildUnderLock(tools, { ...options, patches })
  } catch (cause) {
    throw asBuildFailure(cause, options.cacheDirectory)
  }
}

type Recipe = BuildOptions & { readonly patches: readonly OwnPatch[] }

async function buildUnderLock(tools: BuildTools, options: Recipe): Promise<LlamaBuild> {
  const { cacheDirectory, log, onProgress, patches, signal } = options
  const name = buildName(patches)
  await mkdir(cacheDirectory, { recursive: true })
  const lockPath = join(cacheDirectory, `${name}.lock`)
  const onWaiting = (pid: number) => {
    log.info('waiting for another build of the engine', { pid, lockPath })
    onProgress({ step: 'waiting for another build of the engine', done: 0, unit: 'steps' })
  }
  return withFileLock(lockPath, { signal, onWaiting }, async () => {
    const made = await findLlamaBuild(cacheDirectory, patches)
    if (made) return made
    await removeAbandoned(cacheDirectory, name)
    await requireSpace(cacheDirectory)
    return buildAside(tools, name, options)
  })
}

/** Whatever changes the result is in the name, so that another version of HelixFlow never finds a wrong build. */
function buildName(patches: readonly OwnPatch[]): string {
  const applied = patches.map(({ name, text }) => [name, text])
  const recipe = JSON.stringify([BUILD_FORMAT, COMPILE_FLAGS, LINK_FLAGS, NO_WEB_UI, applied])
  const hash = createHash('sha256').update(recipe).digest('hex').slice(0, 12)
  return `${LLAMA_PACKAGE_VERSION}-${platform()}-${hash}`
}

async function buildAside(tools: BuildTools, name: string, options: Recipe): Promise<LlamaBuild> {
  const { cacheDirectory, log, onProgress, patches, signal } = options
  const aside = await mkdtemp(join(cacheDirectory, asidePrefix(name)))
  log.info('building the engine', { llamaCpp: LLAMA_CPP_RELEASE, compiler: tools.compiler.join(' ') })
  try {
    let fetched = 0
    const onFetched = () =>
      onProgress({ step: 'fetching the engine', done: ++fetched, total: 2, unit: 'files' })
    onProgress({ step: 'fetching the engine', done: 0, total: 2, unit: 'files' })
    const packages = await fetchLlamaPackages(tools, aside, { platform: platform(), signal, onFetched })
    const sources = join(aside, 'sources')
    await layOutSources(tools, { package: packages.source, into: sources, patches, signal })
    await compileLlamaServer(tools, {
      sources,
      libraries: packages.libraries,
      objects: join(aside, 'objects'),
      logPath: join(cacheDirectory, `${name}.log`),
      signal,
      onCompiled: (done, total) => onProgress({ step: 'compiling the engine', done, total, unit: 'files' }),
    })
    // The licence asks to be kept beside every copy.
    await copyFile(join(sources, 'LICENSE'), join(packages.libraries, 'LICENSE.llama.cpp'))
    return await land(packages.libraries, join(cacheDirectory, name), options)
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
}

async function land(
  libraries: string,
  directory: string,
  { cacheDirectory, patches }: Recipe,
): Promise<LlamaBuild> {
  // Made for Node, of no use to the server.
  await rm(join(libraries, 'llama-addon.node'), { force: true })
  const facts: z.infer<typeof BuildFile> = {
    llamaCpp: LLAMA_CPP_RELEASE,
    package: LLAMA_PACKAGE_VERSION,
    platform: platform(),
    patches: patches.map(({ name }) => name),
  }
  await writeFile(join(libraries, BUILD_FILE), `${JSON.stringify(facts, undefined, 2)}\n`)
  // A folder without build.json is what somebody half removed.
  await rm(directory, { recursive: true, force: true })
  await rename(libraries, directory)
  const build = await findLlamaBuild(cacheDirectory, patches)
  if (build) return build
  throw new HelixError(
    'engine_build_failed',
    `The finished engine vanished from ${directory}. Build it again.`,
  )
}

/** What a build that was killed left; under the lock, nobody else can be working in it. */
async function removeAbandoned(cacheDirectory: string, name: string): Promise<void> {
  const names = await readdir(cacheDirectory)
  const abandoned = names.filter((entry) => entry.startsWith(asidePrefix(name)))
  await Promise.all(
    abandoned.map((entry) => rm(join(cacheDirectory, entry), { recursive: true, force: true })),
  )
}

function asidePrefix(name: string): string {
  return `.building-${name}-`
}

async function requireSpace(cacheDirectory: string): Promise<void> {
  const free = await freeBytes(cacheDirectory)
  if (free < BUILD_BYTES) throw buildDiskFull(`${Math.floor(free / 1e6)} MB are free in ${cacheDirectory}`)
}

function platform(): string {
  return `${process.platform}-${process.arch}`
}

function noLibraries(): HelixError {
  return new HelixError(
    'engine_missing',
    `There is no llama-server on this machine, and HelixFlow can build one for linux-x64 and linux-arm64 only, ` +
      `not for ${platform()}. Install llama.cpp (macOS: brew install llama.cpp) so that llama-server is on the ` +
      'PATH, or name one in helixflow.yaml: engines.llamaServer: /path/to/llama-server',
  )
}
