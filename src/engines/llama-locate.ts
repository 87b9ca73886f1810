import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { cudaWays, noWay } from './cuda-backends.ts'
import {
  type CudaOptions,
  findCudaEngines,
  layOutCudaEngine,
  missingLibraries,
  readCudaFacts,
} from './cuda-engine.ts'
import { kindOf } from './granted-device.ts'
import { llamaServerArguments, missingFlags } from './llama-arguments.ts'
import {
  type BuildOptions,
  buildLlamaServer,
  findLlamaBuild,
  type LlamaBuild,
  patchesOfBuild,
} from './llama-build.ts'
import { describeFailure, findCommand, isExecutable, runCommand } from './llama-command.ts'
import { engineEnvironment, type LlamaEngine } from './llama-engine.ts'
import { type TrialDevice, tryEngine } from './llama-trial.ts'

export type { LlamaEngine } from './llama-engine.ts'

export interface FindOptions {
  /** `engines.llamaServer` of the configuration. */
  readonly configuredPath?: string | undefined
  /** The value of PATH. */
  readonly searchPath: string
  /** Holds what was built, and what is known about the engines that were tried. */
  readonly cacheDirectory: string
  /** Devices that it must compute on, of one kind; by default the processor. */
  readonly devices?: readonly TrialDevice[] | undefined
  readonly clock: Clock
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
}

export interface EnsureOptions extends FindOptions, BuildOptions, CudaOptions {
  readonly signal?: AbortSignal | undefined
}

export interface LlamaCandidate extends LlamaEngine {
  /** Whether a test generation succeeded. */
  readonly works: boolean
  /** Why it does not work, as a sentence. */
  readonly reason?: string | undefined
}

const HELP_TIMEOUT_MS = 30_000

/**
 * Every `llama-server` that could be used on the devices, best first: the configured one, the one on the PATH, those
 * built here. Each was tried with a test generation on each kind of device, now or earlier.
 */
export async function findLlamaServers(options: EnsureOptions): Promise<readonly LlamaCandidate[]> {
  const candidates: LlamaCandidate[] = []
  for (const engine of await listEngines(options)) candidates.push(await judge(engine, options))
  return candidates
}

/**
 * The first engine that works on the devices, building one if none does. A configured one is never silently replaced.
 * @throws HelixError `engine_unusable` (the configured or the freshly built engine does not work), and whatever
 *   `buildLlamaServer` throws
 */
export async function ensureLlamaServer(options: EnsureOptions): Promise<LlamaEngine> {
  for (const engine of await listEngines(options)) {
    const candidate = await judge(engine, options)
    if (candidate.works) return { ...engine, version: candidate.version }
    if (engine.origin === 'configured' || (engine.origin === 'built' && !isCuda(options))) {
      throw unusable(candidate)
    }
    options.log.warn('an engine is not suitable', {
      path: engine.serverPath,
      reason: candidate.reason,
    })
  }
  const build = await buildLlamaServer(options)
  if (isCuda(options)) return ensureCuda(build, options)
  const engine = builtEngine(build)
  const candidate = await judge(engine, options)
  if (candidate.works) return engine
  throw unusable(candidate)
}

/** Our build with each library for CUDA in turn, until one generates on the cards. */
async function ensureCuda(build: LlamaBuild, options: EnsureOptions): Promise<LlamaEngine> {
  const facts = await readCudaFacts(options)
  const reasons: string[] = []
  for (const way of cudaWays(facts)) {
    try {
      const candidate = await judge(await layOutCudaEngine(build, way, options), options)
      if (candidate.works) return candidate
      const missing = await missingLibraries(candidate)
      const lacks = missing.length === 0 ? '' : ` It lacks ${missing.join(', ')}.`
      reasons.push(`${candidate.backend}: ${candidate.reason}${lacks}`)
    } catch (cause) {
      options.signal?.throwIfAborted()
      if (!(cause instanceof HelixError)) throw cause
      reasons.push(cause.publicMessage)
    }
    options.log.warn('a CUDA engine does not work here', { reason: reasons.at(-1) })
  }
  const names = [...new Set(options.devices?.map(({ name }) => name))].join(', ')
  const told = [`No engine computes on ${names}.`, ...(reasons.length === 0 ? [noWay(facts)] : reasons)].join(
    ' ',
  )
  throw new HelixError('engine_unusable', told)
}

function isCuda({ devices = [] }: FindOptions): boolean {
  return kindOf(devices) === 'cuda'
}

async function listEngines(options: EnsureOptions): Promise<LlamaEngine[]> {
  const { configuredPath, searchPath, cacheDirectory } = options
  const onPath = await findCommand('llama-server', searchPath)
  const build = await findLlamaBuild(cacheDirectory)
  return [
    ...(configuredPath ? [await foreignEngine('configured', configuredPath)] : []),
    ...(onPath ? [await foreignEngine('path', onPath)] : []),
    ...(build ? await builtEngines(build, options) : []),
  ]
}

/** What was built here computes on a processor by itself, and with a library beside it on NVIDIA cards. */
async function builtEngines(build: LlamaBuild, options: EnsureOptions): Promise<LlamaEngine[]> {
  return isCuda(options) ? findCudaEngines(build, options) : [builtEngine(build)]
}

function builtEngine({ serverPath, fitParamsPath, version, patches }: LlamaBuild): LlamaEngine {
  return { origin: 'built', serverPath, fitParamsPath, version, patches }
}

async function foreignEngine(origin: 'configured' | 'path', serverPath: string): Promise<LlamaEngine> {
  // A package manager's link says nothing about what lies beside the file.
  const directory = dirname(await realpath(serverPath).catch(() => serverPath))
  const fitParamsPath = join(directory, 'llama-fit-params')
  return {
    origin,
    serverPath,
    fitParamsPath: (await isExecutable(fitParamsPath)) ? fitParamsPath : undefined,
    libraryDirectory: await findLibraries([directory, join(directory, '../lib')]),
    // A build of ours may be named by its path, as images do.
    patches: await patchesOfBuild(directory),
  }
}

/** `cmake --install` strips the path to ../lib from the program, which then finds no library by itself. */
async function findLibraries(directories: readonly string[]): Promise<string | undefined> {
  for (const directory of directories) {
    const names = await readdir(directory).catch(() => [])
    if (names.some((name) => name.startsWith('libllama'))) return directory
  }
  return undefined
}

async function judge(engine: LlamaEngine, options: FindOptions): Promise<LlamaCandidate> {
  // One of each kind of card; another of the same name runs the same code.
  const names = new Map((options.devices ?? []).map((device) => [device.name, device]))
  const devices = names.size === 0 ? [undefined] : [...names.values()]
  let candidate: LlamaCandidate = { ...engine, works: false, reason: 'It is not an executable file.' }
  for (const device of devices) {
    candidate = await judgeOn(device, engine, options)
    if (!candidate.works) break
  }
  return candidate
}

async function judgeOn(
  device: TrialDevice | undefined,
  engine: LlamaEngine,
  options: FindOptions,
): Promise<LlamaCandidate> {
  const verdictPath = await verdictPathOf(engine, device, options.cacheDirectory)
  if (verdictPath === undefined) return { ...engine, works: false, reason: 'It is not an executable file.' }
  const known = await readFile(verdictPath, 'utf8').catch(() => undefined)
  // What is configured may be a script that starts something else every day: it is tried each time.
  if (known !== undefined && engine.origin !== 'configured') {
    return { ...engine, version: known.trim() || undefined, works: true }
  }
  const version = engine.version ?? (await readVersion(engine, options))
  const reason = (await unsuitability(engine, options)) ?? (await failedTrial(device, engine, options))
  if (reason !== undefined) return { ...engine, version, works: false, reason }
  // Only success is kept: a failure may have been the moment's, and costs a second to see again.
  if (engine.origin !== 'configured') await keepVerdict(verdictPath, version ?? '')
  return { ...engine, version, works: true }
}

/** Named after all that the verdict depends on: the file as it is, how we start it, the card and its driver. */
async function verdictPathOf(
  engine: LlamaEngine,
  device: TrialDevice | undefined,
  cacheDirectory: string,
): Promise<string | undefined> {
  if (!(await isExecutable(engine.serverPath))) return undefined
  const { size, mtimeMs } = await stat(engine.serverPath)
  const shape = { kind: 'generation', alias: '', slots: 1, contextLength: 1, threads: 1 } as const
  const card = device && device.kind !== 'cpu' ? [device.kind, device.name, await readDriver()] : []
  const identity = [engine.serverPath, size, mtimeMs, llamaServerArguments(shape, '', ''), card]
  const name = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 16)
  return join(cacheDirectory, 'verdicts', name)
}

/** What the kernel says of the driver that is loaded; a new one may run what the old one did not, and the reverse. */
async function readDriver(): Promise<string> {
  const files = ['/proc/driver/nvidia/version', '/sys/module/amdgpu/version']
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')))
  return texts.join('')
}

async function keepVerdict(path: string, version: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.${process.pid}`, version)
  await rename(`${path}.${process.pid}`, path)
}

async function readVersion(engine: LlamaEngine, { signal }: FindOptions): Promise<string | undefined> {
  const { stdout, stderr } = await ask(engine, '--version', signal)
  return /version: (.+)/.exec(`${stdout}\n${stderr}`)?.[1]?.trim()
}

/** Why it cannot be what we need, going by what it says about itself. */
async function unsuitability(engine: LlamaEngine, { signal }: FindOptions): Promise<string | undefined> {
  const result = await ask(engine, '--help', signal)
  if (result.code !== 0) return `It fails when asked for --help (${describeFailure(result)}).`
  const help = `${result.stdout}\n${result.stderr}`
  const missing = missingFlags(help)
  if (missing.length > 0) return `It is too old or too different: it does not know ${missing.join(', ')}.`
  if (!help.includes('.sock')) return 'It is too old: it cannot listen on a Unix socket.'
  if (!help.includes('LLAMA_API_KEY')) return 'It is too old: it takes no API key from the environment.'
  return undefined
}

function ask(engine: LlamaEngine, flag: string, signal: AbortSignal | undefined) {
  const environment = engineEnvironment(engine)
  return runCommand(engine.serverPath, [flag], { environment, signal, timeoutMs: HELP_TIMEOUT_MS })
}

async function failedTrial(
  device: TrialDevice | undefined,
  engine: LlamaEngine,
  { clock, log, signal }: FindOptions,
): Promise<string | undefined> {
  try {
    await tryEngine(engine, { device, clock, log, signal })
    return undefined
  } catch (cause) {
    signal?.throwIfAborted()
    if (!(cause instanceof HelixError) || !cause.code.startsWith('engine_')) throw cause
    log.warn('test generation failed', { path: engine.serverPath, device: device?.id, cause: cause.message })
    return `A test generation failed. ${cause.publicMessage}`
  }
}

function unusable({ origin, serverPath, reason }: LlamaCandidate): HelixError {
  const wayOut =
    origin === 'configured'
      ? 'Correct engines.llamaServer in helixflow.yaml, or remove it and HelixFlow finds or builds one.'
      : 'Put a ready-made llama-server on the PATH, or name one as engines.llamaServer in helixflow.yaml.'
  return new HelixError('engine_unusable', `${serverPath} does not work here. ${reason} ${wayOut}`)
}
