import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
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
import { tryEngine } from './llama-trial.ts'

export type { LlamaEngine } from './llama-engine.ts'

export interface FindOptions {
  /** `engines.llamaServer` of the configuration. */
  readonly configuredPath?: string | undefined
  /** The value of PATH. */
  readonly searchPath: string
  /** Holds what was built, and what is known about the engines that were tried. */
  readonly cacheDirectory: string
  readonly clock: Clock
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
}

export interface EnsureOptions extends FindOptions, BuildOptions {
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
 * Every `llama-server` that could be used, best first: the configured one, the one on the PATH, the one built
 * here. Each was tried with a test generation, now or earlier.
 */
export async function findLlamaServers(options: FindOptions): Promise<readonly LlamaCandidate[]> {
  const candidates: LlamaCandidate[] = []
  for (const engine of await listEngines(options)) candidates.push(await judge(engine, options))
  return candidates
}

/**
 * The first engine that works, building one if none does. A configured one is never silently replaced.
 * @throws HelixError `engine_unusable` (the configured or the freshly built engine does not work), and whatever
 *   `buildLlamaServer` throws
 */
export async function ensureLlamaServer(options: EnsureOptions): Promise<LlamaEngine> {
  for (const engine of await listEngines(options)) {
    const candidate = await judge(engine, options)
    if (candidate.works) return { ...engine, version: candidate.version }
    if (engine.origin !== 'path') throw unusable(candidate)
    options.log.warn('llama-server on the PATH is not suitable', {
      path: engine.serverPath,
      reason: candidate.reason,
    })
  }
  const engine = builtEngine(await buildLlamaServer(options))
  const candidate = await judge(engine, options)
  if (candidate.works) return engine
  throw unusable(candidate)
}

async function listEngines(options: FindOptions): Promise<LlamaEngine[]> {
  const { configuredPath, searchPath, cacheDirectory } = options
  const onPath = await findCommand('llama-server', searchPath)
  const build = await findLlamaBuild(cacheDirectory)
  return [
    ...(configuredPath ? [await foreignEngine('configured', configuredPath)] : []),
    ...(onPath ? [await foreignEngine('path', onPath)] : []),
    ...(build ? [builtEngine(build)] : []),
  ]
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
  const verdictPath = await verdictPathOf(engine, options.cacheDirectory)
  if (verdictPath === undefined) return { ...engine, works: false, reason: 'It is not an executable file.' }
  const known = await readFile(verdictPath, 'utf8').catch(() => undefined)
  // What is configured may be a script that starts something else every day: it is tried each time.
  if (known !== undefined && engine.origin !== 'configured') {
    return { ...engine, version: known.trim() || undefined, works: true }
  }
  const version = engine.version ?? (await readVersion(engine, options))
  const reason = (await unsuitability(engine, options)) ?? (await failedTrial(engine, options))
  if (reason !== undefined) return { ...engine, version, works: false, reason }
  // Only success is kept: a failure may have been the moment's, and costs a second to see again.
  if (engine.origin !== 'configured') await keepVerdict(verdictPath, version ?? '')
  return { ...engine, version, works: true }
}

/** Named after all that the verdict depends on: the file as it is, and how we start it. */
async function verdictPathOf(engine: LlamaEngine, cacheDirectory: string): Promise<string | undefined> {
  if (!(await isExecutable(engine.serverPath))) return undefined
  const { size, mtimeMs } = await stat(engine.serverPath)
  const shape = { kind: 'generation', alias: '', slots: 1, contextLength: 1, threads: 1 } as const
  const identity = [engine.serverPath, size, mtimeMs, llamaServerArguments(shape, '', '')]
  const name = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 16)
  return join(cacheDirectory, 'verdicts', name)
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

async function failedTrial(engine: LlamaEngine, options: FindOptions): Promise<string | undefined> {
  try {
    await tryEngine(engine, { clock: options.clock, log: options.log, signal: options.signal })
    return undefined
  } catch (cause) {
    options.signal?.throwIfAborted()
    if (!(cause instanceof HelixError) || !cause.code.startsWith('engine_')) throw cause
    options.log.warn('test generation failed', { path: engine.serverPath, cause: cause.message })
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
