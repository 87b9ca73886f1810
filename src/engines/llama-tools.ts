import { HelixError } from '../core/errors.ts'
import { type Environment, findCommand, isExecutable } from './llama-command.ts'

/** What building the engine needs on this machine, found. */
export interface BuildTools {
  readonly compiler: string
  readonly npm: string
  readonly environment: Environment
}

const COMPILERS = ['c++', 'g++', 'clang++'] as const

/** What a build may see: where tools and their settings are. Keys and passwords of this process are not among it. */
const PASSED_ON: readonly RegExp[] = [
  /^(PATH|HOME|USER|TMPDIR|LANG|LC_ALL|XDG_[A-Z_]+)$/,
  /^(https?_proxy|all_proxy|no_proxy)$/i,
  /^(npm_config_.*|NPM_.*|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR))$/i,
  /^(CPATH|C_INCLUDE_PATH|CPLUS_INCLUDE_PATH|LIBRARY_PATH|LD_LIBRARY_PATH|SDKROOT)$/,
]

/**
 * @param chosen programs to use instead of those on the PATH
 * @throws HelixError `compiler_missing`, naming what is missing and every way out
 */
export async function findBuildTools(
  environment: Environment,
  chosen: { readonly compiler?: string | undefined; readonly npm?: string | undefined } = {},
): Promise<BuildTools> {
  const searchPath = environment['PATH'] ?? ''
  const find = async (wanted: string | undefined, names: readonly string[]) => {
    if (wanted?.includes('/')) return (await isExecutable(wanted)) ? wanted : undefined
    for (const name of wanted ? [wanted] : names) {
      const path = await findCommand(name, searchPath)
      if (path) return path
    }
    return undefined
  }
  const compiler = await find(chosen.compiler, COMPILERS)
  const npm = await find(chosen.npm, ['npm'])
  const missing = [
    ...(compiler ? [] : [chosen.compiler ?? 'a C++ compiler (g++ or clang++)']),
    ...((await find(undefined, ['git'])) ? [] : ['git']),
    ...(npm ? [] : [chosen.npm ?? 'npm']),
    ...((await find(undefined, ['tar'])) ? [] : ['tar']),
  ]
  if (compiler && npm && missing.length === 0) return { compiler, npm, environment: passedOn(environment) }
  throw compilerMissing(missing)
}

/** Without GIT_DIR and the like, which git sets in hooks and which would lead `git apply` to another repository. */
export function passedOn(environment: Environment): Environment {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => PASSED_ON.some((pattern) => pattern.test(name))),
  )
}

function compilerMissing(missing: readonly string[]): HelixError {
  return new HelixError(
    'compiler_missing',
    `There is no llama-server on this machine, and building one needs ${missing.join(', ')}. One of these helps:\n` +
      '  Debian, Ubuntu: apt-get install g++ git npm\n' +
      '  Fedora, RHEL:   dnf install gcc-c++ git npm\n' +
      '  macOS:          brew install llama.cpp\n' +
      '  or put a ready-made llama-server on the PATH\n' +
      '  or name one in helixflow.yaml: engines.llamaServer: /path/to/llama-server',
  )
}
