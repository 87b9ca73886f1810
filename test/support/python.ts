import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const cache = join(import.meta.dirname, '../../node_modules/.cache/helixflow')

/** Why no Python of this version and with virtual environments is here; undefined when there is one. */
export function findPythonProblem(versionMin: readonly [number, number]): string | undefined {
  const [major, minor] = versionMin
  const script = `import sys, venv, ensurepip; sys.exit(sys.version_info < (${major}, ${minor}))`
  try {
    execFileSync('python3', ['-c', script], { stdio: 'pipe', encoding: 'utf8' })
    return undefined
  } catch (cause) {
    const { code, stderr } = cause as { readonly code?: string; readonly stderr?: string }
    if (code === 'ENOENT') return 'there is no python3 here'
    return stderr?.trim().split('\n').at(-1) || `python3 is older than ${major}.${minor}`
  }
}

/**
 * The interpreter of a virtual environment that holds exactly these packages, made by the first test that asks. pip's
 * own settings say where packages come from.
 */
export async function pythonWith(requirements: readonly string[]): Promise<string> {
  const { stdout: version } = await run('python3', ['--version'])
  const id = createHash('sha256')
    .update([version.trim(), ...requirements].join('\n'))
    .digest('hex')
  const directory = join(cache, `python-${id.slice(0, 16)}`)
  const python = join(directory, 'bin', 'python')
  if (existsSync(python)) return python
  await makeEnvironment(directory, requirements)
  return python
}

/** Half an environment would look like a whole one to the next run, so it gets its name when it is complete. */
async function makeEnvironment(directory: string, requirements: readonly string[]): Promise<void> {
  mkdirSync(cache, { recursive: true })
  const unfinished = mkdtempSync(join(cache, 'python-unfinished-'))
  try {
    await run('python3', ['-m', 'venv', unfinished])
    await run(join(unfinished, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', ...requirements])
    renameSync(unfinished, directory)
  } catch (cause) {
    rmSync(unfinished, { recursive: true, force: true })
    if (!existsSync(directory)) throw cause
  }
}
