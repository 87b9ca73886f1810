import { findCommand, runCommand } from './llama-command.ts'
import type { TrialDevice } from './llama-trial.ts'

const TIMEOUT_MS = 20_000

/** The NVIDIA cards of this machine, as the program says that comes with their driver; none where that is missing. */
export async function findNvidiaCards(options: {
  /** The value of PATH. */
  readonly searchPath: string
  readonly signal?: AbortSignal | undefined
}): Promise<readonly TrialDevice[]> {
  const program = await findCommand('nvidia-smi', options.searchPath)
  if (program === undefined) return []
  const { signal } = options
  const args = ['--query-gpu=uuid,name', '--format=csv,noheader']
  const result = await runCommand(program, args, { signal, timeoutMs: TIMEOUT_MS })
  if (result.code !== 0) return []
  return result.stdout.split('\n').flatMap((line) => {
    const [, id, name] = /^\s*(\S+),\s*(.+?)\s*$/.exec(line) ?? []
    return id !== undefined && name !== undefined ? [{ id, kind: 'cuda', name } as const] : []
  })
}
