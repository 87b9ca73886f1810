import { appendFile, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { HelixError } from '../core/errors.ts'
import { buildFailure } from './llama-build-failure.ts'
import { type CommandResult, runCommand } from './llama-command.ts'
import type { BuildTools } from './llama-tools.ts'

/** Where the parts of one build lie. */
export interface CompileOptions {
  /** The patched llama.cpp tree. */
  readonly sources: string
  /** The prepared libraries; the programs land beside them. */
  readonly libraries: string
  /** For object files; made here. */
  readonly objects: string
  /** Gets the output of a compiler that failed. */
  readonly logPath: string
  readonly signal?: AbortSignal | undefined
  onCompiled(done: number, total: number): void
}

const INCLUDES = [
  'include',
  'ggml/include',
  'common',
  'src',
  'vendor',
  'vendor/hash',
  'tools/mtmd',
  'tools/server',
  '.',
]

/** The defines are those with which llama.cpp's own build makes the server. */
export const COMPILE_FLAGS: readonly string[] = [
  '-O2',
  '-fPIC',
  '-pthread',
  '-w',
  '-DCPPHTTPLIB_FORM_URL_ENCODED_PAYLOAD_MAX_LENGTH=1048576',
  '-DCPPHTTPLIB_LISTEN_BACKLOG=512',
  '-DCPPHTTPLIB_REQUEST_URI_MAX_LENGTH=32768',
  '-DCPPHTTPLIB_TCP_NODELAY=1',
  '-DGGML_USE_CPU',
  '-DGGML_BACKEND_DL',
  '-DGGML_SHARED',
  '-DLLAMA_SHARED',
  ...INCLUDES.map((directory) => `-I${directory}`),
]

/** The libraries are named in full, because there is no unversioned `libllama.so` for `-lllama` to find. */
export const LINK_FLAGS: readonly string[] = [
  '-Wl,-rpath,$ORIGIN',
  // What the libraries need of each other is found when they are loaded; here only our own symbols matter.
  '-Wl,--allow-shlib-undefined',
  '-l:libllama-common.so',
  '-l:libllama.v0.5.0.so',
  '-l:libggml.v0.5.0.so',
  '-l:libggml-base.so',
  '-lpthread',
  '-ldl',
]

/** Stands in for the web UI, which would need a JavaScript build of its own and which nobody here opens. */
export const NO_WEB_UI = `#pragma once
#include <array>
#include <string>
struct llama_ui_asset { std::string name; const unsigned char * data; std::size_t size; std::string etag; std::string type; };
inline const llama_ui_asset * llama_ui_find_asset(const std::string &) { return nullptr; }
inline bool llama_ui_use_gzip() { return false; }
inline const std::array<llama_ui_asset, 0> & llama_ui_get_assets() { static const std::array<llama_ui_asset, 0> none{}; return none; }
`

const SERVER_FOLDERS = ['tools/server', 'tools/mtmd', 'tools/mtmd/models'] as const
const NOT_OF_THE_SERVER: ReadonlySet<string> = new Set(['mtmd-cli.cpp', 'deprecation-warning.cpp'])
const SERVER_VENDORED = [
  'vendor/cpp-httplib/httplib.cpp',
  'vendor/hash/hash.cpp',
  'vendor/hash/sha1/sha1.c',
  'vendor/hash/sha256/sha256.c',
  'vendor/hash/xxhash/xxhash.c',
] as const
const FIT_PARAMS = ['tools/fit-params/fit-params.cpp', 'tools/fit-params/main.cpp'] as const

/** Written in C, but used by C++ under its C++ name. */
const AS_CPP: ReadonlySet<string> = new Set(['vendor/hash/sha1/sha1.c'])

/**
 * Compiles and links `llama-server` and `llama-fit-params`, on all cores.
 * @throws HelixError `engine_build_failed` with the compiler's last lines, `disk_full`
 */
export async function compileLlamaServer(tools: BuildTools, options: CompileOptions): Promise<void> {
  await mkdir(options.objects)
  await writeFile(join(options.sources, 'tools/server/ui.h'), NO_WEB_UI)
  const server = [...(await serverSources(options.sources)), ...SERVER_VENDORED]
  const all = await largestFirst(options.sources, [...server, ...FIT_PARAMS])
  let done = 0
  await forEachInParallel(all, async (source) => {
    await run(tools, options, compileArguments(source, options.objects))
    done += 1
    options.onCompiled(done, all.length)
  })
  for (const [program, sources] of [
    ['llama-server', server],
    ['llama-fit-params', FIT_PARAMS],
  ] as const) {
    const objects = sources.map((source) => objectPath(source, options.objects))
    const output = ['-o', join(options.libraries, program), `-L${options.libraries}`]
    await run(tools, options, [...objects, ...output, ...LINK_FLAGS])
  }
}

async function serverSources(sources: string): Promise<string[]> {
  const folders = await Promise.all(
    SERVER_FOLDERS.map(async (folder) => {
      const names = await readdir(join(sources, folder))
      return names
        .filter((name) => name.endsWith('.cpp') && !NOT_OF_THE_SERVER.has(name))
        .map((name) => `${folder}/${name}`)
    }),
  )
  return folders.flat()
}

/** A large file that starts last would keep one core busy while the others wait. */
async function largestFirst(sources: string, files: readonly string[]): Promise<string[]> {
  const sized = await Promise.all(
    files.map(async (file) => ({ file, sizeBytes: (await stat(join(sources, file))).size })),
  )
  return sized.sort((a, b) => b.sizeBytes - a.sizeBytes).map(({ file }) => file)
}

function compileArguments(source: string, objects: string): string[] {
  const isC = source.endsWith('.c') && !AS_CPP.has(source)
  const language = isC ? ['-x', 'c'] : ['-x', 'c++', '-std=c++17']
  return [...COMPILE_FLAGS, ...language, '-c', source, '-o', objectPath(source, objects)]
}

function objectPath(source: string, objects: string): string {
  return join(objects, `${source.replaceAll('/', '_')}.o`)
}

/** The first failure ends the rest, which would only fail the same way. */
async function forEachInParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  let failed = false
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined && !failed; item = queue.shift()) {
      await work(item).catch((cause) => {
        failed = true
        throw cause
      })
    }
  }
  const workers = await Promise.allSettled(Array.from({ length: availableParallelism() }, worker))
  for (const result of workers) if (result.status === 'rejected') throw result.reason
}

async function run(tools: BuildTools, options: CompileOptions, args: readonly string[]): Promise<void> {
  const [program, ...always] = tools.compiler
  const result = await runCommand(program, [...always, ...args], {
    directory: options.sources,
    signal: options.signal,
  })
  if (result.code !== 0) throw await compileFailure(tools, options, { args, result })
}

async function compileFailure(
  tools: BuildTools,
  { logPath }: CompileOptions,
  { args, result }: { readonly args: readonly string[]; readonly result: CommandResult },
): Promise<HelixError> {
  const compiler = tools.compiler.join(' ')
  const output = `${result.stdout}${result.stderr}`.trim()
  const ending = result.endedBy ? ` (ended by ${result.endedBy}: too little memory?)` : ''
  const failure = buildFailure(
    `llama-server could not be compiled with ${compiler}${ending}. The compiler's messages are in ${logPath}. ` +
      'Try a newer compiler, or put a ready-made llama-server on the PATH, or name one as engines.llamaServer ' +
      'in helixflow.yaml.',
    result,
    output.split('\n').slice(-20).join('\n') || `${compiler} said nothing`,
  )
  if (failure.code !== 'disk_full') {
    await appendFile(logPath, `${compiler} ${args.join(' ')}\n${output}${ending}\n`)
  }
  return failure
}
