import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const program = join(import.meta.dirname, '..', '..', 'bin', 'helixflow.js')

/** A command of the program, with the server's home. */
export async function helixflow(
  server: { home: string },
  ...parts: string[]
): Promise<{ code: number; out: string; err: string }> {
  const env = { PATH: process.env['PATH'] ?? '', HELIXFLOW_HOME: server.home }
  const config = join(server.home, 'test.yaml')
  const options = existsSync(config) ? ['--config', config] : []
  try {
    const { stdout, stderr } = await run(process.execPath, [program, ...parts, ...options], { env })
    return { code: 0, out: stdout, err: stderr }
  } catch (reason) {
    const { code, stdout, stderr } = reason as { code: number; stdout: string; stderr: string }
    return { code, out: stdout, err: stderr }
  }
}
