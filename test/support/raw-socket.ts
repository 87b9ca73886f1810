import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import type { Socket } from 'node:net'

export interface RawFrame {
  readonly opcode: number
  readonly fin: boolean
  readonly payload: Buffer
}

export interface FrameParts {
  readonly fin?: boolean
  /** The three reserved bits as a number from 0 to 7. */
  readonly reserved?: number
  readonly masked?: boolean
  /** In place of the real one, for lies about it. */
  readonly length?: bigint
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** A frame as a client sends it, or as no client should. */
export function frame(opcode: number, content: string | Buffer = '', parts: FrameParts = {}): Buffer {
  const { fin = true, reserved = 0, masked = true } = parts
  const payload = Buffer.from(content as string)
  const length = parts.length ?? BigInt(payload.length)
  const head = Buffer.alloc(length <= 125n ? 2 : length <= 0xffffn ? 4 : 10)
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode
  head[1] = masked ? 0x80 : 0
  if (length <= 125n) head[1] |= Number(length)
  else if (length <= 0xffffn) {
    head[1] |= 126
    head.writeUInt16BE(Number(length), 2)
  } else {
    head[1] |= 127
    head.writeBigUInt64BE(length, 2)
  }
  if (!masked) return Buffer.concat([head, payload])
  const mask = randomBytes(4)
  const scrambled = payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0))
  return Buffer.concat([head, mask, scrambled])
}

export function closeFrame(code: number, reason: string | Buffer = ''): Buffer {
  const payload = Buffer.alloc(2)
  payload.writeUInt16BE(code)
  return frame(OPCODE.close, Buffer.concat([payload, Buffer.from(reason as string)]))
}

/** A WebSocket of which every byte can be chosen, and every frame seen. */
export class RawSocket {
  readonly frames: RawFrame[] = []
  /** Resolves when the connection is really gone. */
  readonly gone: Promise<void>
  private unread: Buffer = Buffer.alloc(0)
  private readonly waiting = new Set<() => void>()

  private constructor(readonly socket: Socket) {
    this.gone = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => {})
    socket.on('close', () => this.wake())
    socket.on('data', (bytes: Buffer) => this.receive(bytes))
    socket.setNoDelay()
  }

  static open(origin: string, apiKey: string, headers: Record<string, string> = {}): Promise<RawSocket> {
    return new Promise((resolve, reject) => {
      const asked = request(`${origin}/ws`, {
        headers: {
          authorization: `Bearer ${apiKey}`,
          connection: 'upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': randomBytes(16).toString('base64'),
          'sec-websocket-protocol': 'helixflow.v1',
          ...headers,
        },
      })
      asked.once('upgrade', (_response, socket: Socket, head: Buffer) => {
        const opened = new RawSocket(socket)
        opened.receive(head)
        resolve(opened)
      })
      asked.once('response', ({ statusCode }) => reject(new Error(`refused with ${statusCode}`)))
      asked.once('error', reject)
      asked.end()
    })
  }

  /** @param pieceBytes how much goes into one packet; undefined: all */
  async send(bytes: Buffer, pieceBytes?: number): Promise<void> {
    if (pieceBytes === undefined) {
      this.socket.write(bytes)
      return
    }
    for (let at = 0; at < bytes.length && this.socket.writable; at += pieceBytes) {
      this.socket.write(bytes.subarray(at, at + pieceBytes))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  sayText(message: object): void {
    this.socket.write(frame(OPCODE.text, JSON.stringify(message)))
  }

  /** The first frame that satisfies; undefined when the connection ended without one. */
  async find(satisfies: (frame: RawFrame) => boolean): Promise<RawFrame | undefined> {
    for (;;) {
      const found = this.frames.find(satisfies)
      if (found || this.socket.destroyed) return found
      await new Promise<void>((resolve) => this.waiting.add(resolve))
    }
  }

  /** The first message of that type. */
  async message(type: string, satisfies: (message: Record<string, unknown>) => boolean = () => true) {
    const found = await this.find(({ opcode, payload }) => {
      if (opcode !== OPCODE.text) return false
      const message = JSON.parse(String(payload)) as Record<string, unknown>
      return message['type'] === type && satisfies(message)
    })
    return found && (JSON.parse(String(found.payload)) as Record<string, unknown>)
  }

  /** The code that the server closes with: 1005 for a close frame without one, 1006 for an end without one. */
  async closeCode(): Promise<number> {
    const found = await this.find(({ opcode }) => opcode === OPCODE.close)
    if (!found) return 1006
    return found.payload.length === 0 ? 1005 : found.payload.readUInt16BE()
  }

  private receive(bytes: Buffer): void {
    this.unread = Buffer.concat([this.unread, bytes])
    for (;;) {
      const parsed = parseFrame(this.unread)
      if (!parsed) break
      this.frames.push(parsed.frame)
      this.unread = this.unread.subarray(parsed.sizeBytes)
    }
    this.wake()
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve()
    this.waiting.clear()
  }
}

/** @throws when a server sends what a server must not */
function parseFrame(bytes: Buffer): { readonly frame: RawFrame; readonly sizeBytes: number } | undefined {
  const [first = 0, second = 0] = bytes
  if (bytes.length < 2) return undefined
  if ((first & 0x70) !== 0 || (second & 0x80) !== 0) throw new Error('reserved bits or a mask from a server')
  const start = second < 126 ? 2 : second === 126 ? 4 : 10
  if (bytes.length < start) return undefined
  const length =
    second < 126 ? second : second === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  if (bytes.length < start + length) return undefined
  const payload = bytes.subarray(start, start + length)
  return { frame: { opcode: first & 0x0f, fin: (first & 0x80) !== 0, payload }, sizeBytes: start + length }
}
