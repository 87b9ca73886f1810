import { spawn } from 'node:child_process'
import { HelixError } from './core/errors.ts'

export interface Guardian {
  /** Ends the watch without a signal. To be called before `pid` is stopped or once it has gone. */
  release(): void
}

/**
 * Has `signal` sent to `pid` as soon as this process is gone, however it went: a child that was started detached
 * outlives a SIGKILL of its parent, and nothing inside the parent can run then. The guardian is a shell that reads
 * from a pipe which only this process holds open; the kernel closes that pipe for a dead process.
 *
 * A negative `pid` is that of a process group. It keeps this process alive no longer than it would live by itself.
 * @throws HelixError `internal_error` when no process can be started
 */
export function guard(pid: number, signal: NodeJS.Signals): Guardian {
  const shell = spawn(
    '/bin/sh',
    ['-c', 'read -r _; kill -s "$0" -- "$1"', signal.replace('SIG', ''), String(pid)],
    // Detached, so that a Ctrl-C in the terminal cannot reach it before it reaches us.
    { cwd: '/', detached: true, env: {}, stdio: ['pipe', 'ignore', 'ignore'] },
  )
  // A failed start is told at once by the missing pid; the event would only repeat it as an uncaught exception.
  shell.on('error', () => {})
  if (shell.pid === undefined) {
    throw new HelixError('internal_error', 'The system refused to start another process.', {
      internal: `no guardian for process ${pid}: /bin/sh could not be started`,
    })
  }
  shell.unref()
  return { release: () => void shell.kill('SIGKILL') }
}
