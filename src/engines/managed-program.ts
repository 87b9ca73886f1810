import { HelixError } from '../core/errors.ts'
import { describeFailure, findCommand, isExecutable, runCommand } from './llama-command.ts'

export type ManagedKind = 'vllm' | 'sglang'

/** vLLM or SGLang as it is installed on this machine. */
export interface ManagedProgram {
  readonly kind: ManagedKind
  /** What starts it, before all arguments. */
  readonly command: readonly [program: string, ...args: string[]]
  /** The value of PATH; both run compilers of their own. */
  readonly searchPath: string
  /** Whether it can listen on a Unix socket, which a file system guards, and not on a port alone. */
  readonly listensOnSockets: boolean
}

export interface ManagedOptions {
  /** The command in helixflow.yaml, as one would type it. */
  readonly configured: string | undefined
  readonly searchPath: string
  readonly signal?: AbortSignal | undefined
}

/** Python needs half a minute to import all that they consist of. */
const HELP_TIMEOUT_MS = 180_000

const DEFAULTS = {
  vllm: { names: ['vllm'], args: [] as string[], title: 'vLLM' },
  sglang: { names: ['python3', 'python'], args: ['-m', 'sglang.launch_server'], title: 'SGLang' },
} as const

/**
 * The program, asked for its flags so that what it lacks is not asked of it.
 * @throws HelixError `engine_missing` (not installed), `engine_unusable` (it fails when asked for help); the signal's
 *   reason when it aborts
 */
export async function findManagedProgram(
  kind: ManagedKind,
  { configured, searchPath, signal }: ManagedOptions,
): Promise<ManagedProgram> {
  const command = await commandOf(kind, configured, searchPath)
  if (!command) throw missing(kind, configured)
  const help = await helpOf(kind, command, { searchPath, signal })
  const listensOnSockets = kind === 'vllm' && /(?<![\w-])--uds(?![\w-])/.test(help)
  return { kind, command, searchPath, listensOnSockets }
}

async function commandOf(
  kind: ManagedKind,
  configured: string | undefined,
  searchPath: string,
): Promise<ManagedProgram['command'] | undefined> {
  const { names, args } = DEFAULTS[kind]
  const [chosen, ...chosenArgs] = configured?.trim().split(/\s+/) ?? []
  for (const name of chosen ? [chosen] : names) {
    const isPath = name.includes('/') && (await isExecutable(name))
    const path = isPath ? name : await findCommand(name, searchPath)
    if (path) return [path, ...(chosen ? chosenArgs : args)]
  }
  return undefined
}

async function helpOf(
  kind: ManagedKind,
  [program, ...args]: ManagedProgram['command'],
  { searchPath, signal }: Pick<ManagedOptions, 'searchPath' | 'signal'>,
): Promise<string> {
  const options = { environment: { PATH: searchPath }, signal, timeoutMs: HELP_TIMEOUT_MS }
  // Newer vLLM shows its flags only when asked for all of them; older ones know no such word.
  const ways =
    kind === 'vllm'
      ? [
          ['serve', '--help=all'],
          ['serve', '--help'],
        ]
      : [['--help']]
  let failure = ''
  for (const way of ways) {
    const result = await runCommand(program, [...args, ...way], options)
    if (result.code === 0) return result.stdout
    failure = describeFailure(result)
  }
  if (/No module named '?sglang/.test(failure)) throw missing(kind, undefined)
  throw new HelixError(
    'engine_unusable',
    `${[program, ...args].join(' ')} does not work here: it fails when asked for --help (${failure}).`,
  )
}

function missing(kind: ManagedKind, configured: string | undefined): HelixError {
  const { title } = DEFAULTS[kind]
  const what = configured === undefined ? `${title} is not on the PATH` : `'${configured}' is no command`
  return new HelixError(
    'engine_missing',
    `${what} of this machine. Install ${title} (pip install ${kind}), or name the command that starts it in ` +
      `helixflow.yaml: engines.${kind}`,
  )
}
