import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

const PING = 9
const TEXT = 1

/** A client that costs as little as one can, so that what is measured is the server: it reads whole text frames. */
export class LeanSocket {
  onText: (payload: Buffer) => void = () => {}
  private rest: Buffer = Buffer.alloc(0)
  private opened = false

  private constructor(private readonly socket: Socket) {}

  /** Resolves when the server has switched protocols. */
  static open(port: number, path: string, headers: Readonly<Record<string, string>>): Promise<LeanSocket> {
    const socket = connect(port, '127.0.0.1')
    socket.setNoDelay(true)
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(
      `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\n` +
        `sec-websocket-key: ${randomBytes(16).toString('base64')}\r\nsec-websocket-version: 13\r\n${lines.join('')}\r\n`,
    )
    const one = new LeanSocket(socket)
    return new Promise((resolve, reject) => {
      socket.on('error', reject)
      socket.on('close', () => reject(new Error('the server closed the connection')))
      socket.on('data', (bytes: Buffer) => one.receive(bytes, () => resolve(one), reject))
    })
  }

  send(text: string): void {
    this.socket.write(maskedFrame(TEXT, Buffer.from(text)))
  }

  /** The next text that fits, before anything else gets it. */
  next(fits: (text: string) => boolean): Promise<string> {
    const { onText } = this
    return new Promise((resolve) => {
      this.onText = (payload) => {
        const text = payload.toString('utf8')
        if (!fits(text)) return onText(payload)
        this.onText = onText
        resolve(text)
      }
    })
  }

  close(): void {
    this.socket.destroy()
  }

  private receive(bytes: Buffer, opened: () => void, refused: (reason: Error) => void): void {
    let data = this.rest.length > 0 ? Buffer.concat([this.rest, bytes]) : bytes
    if (!this.opened) {
      const end = data.indexOf('\r\n\r\n')
      if (end < 0) {
        this.rest = data
        return
      }
      if (!data.toString('latin1', 0, 12).endsWith(' 101')) {
        refused(new Error(data.toString('utf8').slice(0, 500)))
        return
      }
      this.opened = true
      data = data.subarray(end + 4)
      opened()
    }
    this.rest = this.frames(data)
  }

  private frames(data: Buffer): Buffer {
    let at = 0
    while (data.length - at >= 2) {
      const short = (data[at + 1] ?? 0) & 127
      const head = short < 126 ? 2 : short === 126 ? 4 : 10
      if (data.length - at < head) break
      const length =
        short < 126 ? short : short === 126 ? data.readUInt16BE(at + 2) : Number(data.readBigUInt64BE(at + 2))
      if (data.length - at < head + length) break
      const payload = data.subarray(at + head, at + head + length)
      const opcode = (data[at] ?? 0) & 15
      if (opcode === TEXT) this.onText(payload)
      else if (opcode === PING) this.socket.write(maskedFrame(10, payload))
      at += head + length
    }
    return at === data.length ? EMPTY : data.subarray(at)
  }
}

const EMPTY = Buffer.alloc(0)

function maskedFrame(opcode: number, payload: Buffer): Buffer {
  const head =
    payload.length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | payload.length])
      : Buffer.from([0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255])
  const mask = randomBytes(4)
  return Buffer.concat([head, mask, payload.map((byte, place) => byte ^ (mask[place & 3] ?? 0))])
}
