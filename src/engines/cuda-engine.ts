import { createHash } from 'node:crypto'
import { access, copyFile, link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { OnProgress } from '../core/progress.ts'
import { type CudaFacts, type CudaWay, cudaCompileCommands, cudaWays, runtimesIn } from './cuda-backends.ts'
import { withFileLock } from './file-lock.ts'
import type { LlamaBuild } from './llama-build.ts'
import { buildFailure } from './llama-build-failure.ts'
import { findCommand, isExecutable, runCommand } from './llama-command.ts'
import type { LlamaEngine } from './llama-engine.ts'
import { CUDA_PACKAGES, fetchPackage, SOURCE_FILES, SOURCE_PACKAGE } from './llama-packages.ts'
import { layOutSources } from './llama-patches.ts'
import { findBuildTools, type ToolOptions } from './llama-tools.ts'

export interface CudaOptions extends ToolOptions {
  /** `engines.cudaBackend` of the configuration: a libggml-cuda.so of the same release of llama.cpp. */
  readonly cudaBackend?: string | undefined
  /** `engines.cudaToolkit` of the configuration: the folder with `bin/nvcc` and `lib64`. */
  readonly cudaToolkit?: string | undefined
  readonly onProgress: OnProgress
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
}

const LIBRARY = 'libggml-cuda.so'

/** Where toolkits are installed unless somebody chose another place. */
const USUAL_TOOLKIT = '/usr/local/cuda'

const COMPILE_TIMEOUT_MS = 2 * 60 * 60_000

/** What this machine has for computing on NVIDIA cards. */
export async function readCudaFacts(options: CudaOptions): Promise<CudaFacts> {
  const toolkit = options.cudaToolkit ?? USUAL_TOOLKIT
  const inToolkit = join(toolkit, 'bin/nvcc')
  const nvcc = (await isExecutable(inToolkit)) ? inToolkit : await findCommand('nvcc', options.searchPath)
  const system = await runCommand('/bin/sh', ['-c', 'PATH="$PATH:/sbin:/usr/sbin" ldconfig -p'])
  const beside = await readdir(join(toolkit, 'lib64')).catch(() => [])
  return {
    named: options.cudaBackend,
    platform: `${process.platform}-${process.arch}`,
    runtimes: runtimesIn(`${system.stdout}\n${beside.join('\n')}`),
    nvcc,
    cmake: await findCommand('cmake', options.searchPath),
  }
}

/** Engines that were laid out for NVIDIA cards before, in the order in which they would be tried. */
export async function findCudaEngines(build: LlamaBuild, options: CudaOptions): Promise<LlamaEngine[]> {
  const engines: LlamaEngine[] = []
  for (const way of cudaWays(await readCudaFacts(options))) {
    const directory = await directoryOf(build, way).catch(() => undefined)
    if (directory && (await exists(join(directory, LIBRARY))))
      engines.push(engineIn(directory, build, { way, options }))
  }
  return engines
}

/**
 * Our build with the library beside it that one way leads to: the files of the build are linked, not copied, for the
 * server looks for libraries in its own folder. Of two calls at once one works and the other waits.
 * @throws HelixError `engine_build_failed`, `checksum_mismatch`, `compiler_missing`, `disk_full`,
 *   `engine_unusable` (there is no such library)
 */
export async function layOutCudaEngine(
  build: LlamaBuild,
  way: CudaWay,
  options: CudaOptions,
): Promise<LlamaEngine> {
  const directory = await directoryOf(build, way)
  const { signal, onProgress } = options
  const onWaiting = () => onProgress({ step: 'waiting for another CUDA engine', done: 0, unit: 'steps' })
  await withFileLock(`${directory}.lock`, { signal, onWaiting }, async () => {
    if (await exists(join(directory, LIBRARY))) return
    const aside = await mkdtemp(join(dirname(directory), `.laying-${basename(directory)}-`))
    try {
      const library = await obtain(way, aside, options)
      const whole = join(aside, 'engine')
      await mkdir(whole)
      for (const name of await readdir(build.directory))
        await link(join(build.directory, name), join(whole, name))
      // What a compiler made asks for the library under its versioned name.
      await link(join(whole, 'libggml-base.so'), join(whole, 'libggml-base.so.0'))
      await copyFile(library, join(whole, LIBRARY))
      await rm(directory, { recursive: true, force: true })
      await rename(whole, directory)
    } finally {
      await rm(aside, { recursive: true, force: true })
    }
  })
  return engineIn(directory, build, { way, options })
}

/** Libraries that the one for CUDA is linked to and that this machine has not: the server only says `invalid device`. */
export async function missingLibraries({
  serverPath,
  libraryDirectory,
}: LlamaEngine): Promise<readonly string[]> {
  const environment = { PATH: '/usr/bin:/bin', LD_LIBRARY_PATH: libraryDirectory ?? '' }
  const { stdout } = await runCommand('ldd', [join(dirname(serverPath), LIBRARY)], { environment })
  return [...stdout.matchAll(/^\s*(\S+) => not found/gm)].map(([, name]) => name ?? '')
}

function engineIn(
  directory: string,
  { version, patches }: LlamaBuild,
  { way, options }: { readonly way: CudaWay; readonly options: CudaOptions },
): LlamaEngine {
  return {
    origin: 'built',
    backend: way.kind === 'package' ? way.release : way.kind,
    serverPath: join(directory, 'llama-server'),
    fitParamsPath: join(directory, 'llama-fit-params'),
    // A library made elsewhere knows not where it lies now; and the runtime of a toolkit need not be known to the system.
    libraryDirectory: [directory, join(options.cudaToolkit ?? USUAL_TOOLKIT, 'lib64')].join(delimiter),
    version,
    patches,
  }
}

/** Named after all that the library depends on. */
async function directoryOf(build: LlamaBuild, way: CudaWay): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(await identityOf(way)))
  return `${build.directory}-cuda-${hash.digest('hex').slice(0, 12)}`
}

async function identityOf(way: CudaWay): Promise<unknown> {
  if (way.kind === 'package') return CUDA_PACKAGES[way.release]
  const path = way.kind === 'named' ? way.path : way.nvcc
  const found = await stat(path).catch(() => undefined)
  if (!found)
    throw new HelixError('engine_unusable', `There is no file ${path}, which is to be used for CUDA.`)
  // Another card in the machine wants other code.
  const cards =
    way.kind === 'compiled' ? await readFile('/proc/driver/nvidia/version', 'utf8').catch(() => '') : ''
  return [way.kind, path, found.size, found.mtimeMs, cards]
}

async function obtain(way: CudaWay, aside: string, options: CudaOptions): Promise<string> {
  if (way.kind === 'named') return way.path
  const tools = await findBuildTools(options)
  const { onProgress, signal } = options
  onProgress({ step: 'fetching the CUDA engine', done: 0, total: 1, unit: 'files' })
  const target = join(aside, 'package')
  if (way.kind === 'package') {
    const { file, ...pinned } = CUDA_PACKAGES[way.release]
    await fetchPackage(tools, pinned, { target, wanted: [file], signal })
    return join(target, file)
  }
  await fetchPackage(tools, SOURCE_PACKAGE, { target, wanted: SOURCE_FILES, signal })
  const sources = join(aside, 'sources')
  await layOutSources(tools, { package: join(target, 'package/llama'), into: sources, patches: [], signal })
  return compile(way, { sources, objects: join(aside, 'objects') }, options)
}

async function compile(
  way: Extract<CudaWay, { kind: 'compiled' }>,
  folders: { readonly sources: string; readonly objects: string },
  { log, onProgress, signal }: CudaOptions,
): Promise<string> {
  log.info('compiling the CUDA engine for the cards of this machine', { nvcc: way.nvcc })
  onProgress({ step: 'compiling the CUDA engine', done: 0, total: 1, unit: 'files' })
  for (const [program, ...args] of cudaCompileCommands(way, { ...folders, jobs: availableParallelism() })) {
    const result = await runCommand(program, args, { signal, timeoutMs: COMPILE_TIMEOUT_MS })
    if (result.code === 0) continue
    throw buildFailure(`The CUDA engine could not be compiled with ${way.nvcc}.`, result)
  }
  return join(folders.objects, 'bin', LIBRARY)
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
