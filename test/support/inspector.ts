import { WebSocket } from 'undici'
import type { Server } from './server.ts'

/** Give this as the environment of a server whose inside a test wants to see. */
export const INSPECTABLE = { NODE_OPTIONS: '--inspect=127.0.0.1:0' } as const

/** A look into a running server process over Node's own debugging protocol. */
export class Inspector {
  private readonly pending = new Map<number, { resolve(value: Result): void; reject(error: Error): void }>()
  private lastId = 0

  private constructor(private readonly socket: WebSocket) {
    socket.addEventListener('message', ({ data }) => this.receive(JSON.parse(String(data)) as Reply))
    socket.addEventListener('close', () => {
      for (const { reject } of this.pending.values()) reject(new Error('the process has gone'))
    })
  }

  static async attach(server: Pick<Server, 'logged'>): Promise<Inspector> {
    const [, address = ''] = await server.logged(/Debugger listening on (ws:\S+)/)
    const socket = new WebSocket(address)
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve)
      socket.addEventListener('error', ({ message }) => reject(new Error(message)))
    })
    return new Inspector(socket)
  }

  /** Bytes that are still in use after everything that is not has been collected. */
  async bytesInUse(): Promise<number> {
    await this.send('HeapProfiler.collectGarbage')
    await this.send('HeapProfiler.collectGarbage')
    const { heapUsed, arrayBuffers } = await this.evaluate<NodeJS.MemoryUsage>('process.memoryUsage()')
    return heapUsed + arrayBuffers
  }

  /** Value of a JavaScript expression in the process. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails))
    return result?.value as T
  }

  close(): void {
    this.socket.close()
  }

  private send(method: string, params: object = {}): Promise<Result> {
    const id = ++this.lastId
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject })
      this.socket.send(JSON.stringify({ id, method, params }))
    })
  }

  private receive({ id, result, error }: Reply): void {
    const waiting = this.pending.get(id)
    this.pending.delete(id)
    if (error) waiting?.reject(new Error(error.message))
    else waiting?.resolve(result)
  }
}

interface Result {
  readonly result?: { readonly value?: unknown }
  readonly exceptionDetails?: unknown
}

interface Reply {
  readonly id: number
  readonly result: Result
  readonly error?: { readonly message: string }
}
