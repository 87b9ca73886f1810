import { HelixError } from '../core/errors.ts'
import { findCommand, isExecutable } from './llama-command.ts'

/** What building the engine needs on this machine, found. */
export interface BuildTools {
  /** The program and what always follows it, such as `ccache g++`. */
  readonly compiler: readonly [program: string, ...args: string[]]
  readonly npm: string
  readonly git: string
  readonly tar: string
}

export interface ToolOptions {
  /** The value of PATH. */
  readonly searchPath: string
  /** Instead of the first of c++, g++ and clang++; in the form of the variable CXX. */
  readonly compiler?: string | undefined
  readonly npm?: string | undefined
}

/** @throws HelixError `compiler_missing`, naming what is missing and every way out */
export async function findBuildTools(options: ToolOptions): Promise<BuildTools> {
  const [chosen, ...args] = options.compiler?.trim().split(/\s+/) ?? []
  const program = await findFirst(chosen ? [chosen] : ['c++', 'g++', 'clang++'], options.searchPath)
  const npm = await findFirst([options.npm ?? 'npm'], options.searchPath)
  const git = await findFirst(['git'], options.searchPath)
  const tar = await findFirst(['tar'], options.searchPath)
  if (program && npm && git && tar) return { compiler: [program, ...args], npm, git, tar }
  throw compilerMissing([
    ...(program ? [] : [chosen ?? 'a C++ compiler (g++ or clang++)']),
    ...(npm ? [] : [options.npm ?? 'npm']),
    ...(git ? [] : ['git']),
    ...(tar ? [] : ['tar']),
  ])
}

async function findFirst(names: readonly string[], searchPath: string): Promise<string | undefined> {
  for (const name of names) {
    if (name.includes('/') && (await isExecutable(name))) return name
    const path = await findCommand(name, searchPath)
    if (path) return path
  }
  return undefined
}

function compilerMissing(missing: readonly string[]): HelixError {
  return new HelixError(
    'compiler_missing',
    `There is no usable llama-server on this machine, and to build one it lacks ${missing.join(', ')}. ` +
      'One of these helps:\n' +
      '  Debian, Ubuntu:  apt-get install g++ git npm\n' +
      '  Fedora, RHEL:    dnf install gcc-c++ git npm\n' +
      '  macOS:           brew install llama.cpp\n' +
      '  or put a ready-made llama-server on the PATH\n' +
      '  or name one in helixflow.yaml: engines.llamaServer: /path/to/llama-server',
  )
}
