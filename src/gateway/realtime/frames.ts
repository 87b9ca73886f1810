const TEXT = 0x81
const SHORT_MAX = 125
const MEDIUM_MAX = 0xffff

/** A text message as a server sends it: one frame, unmasked. */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const start = length <= SHORT_MAX ? 2 : length <= MEDIUM_MAX ? 4 : 10
  const frame = Buffer.allocUnsafe(start + length)
  frame[0] = TEXT
  if (length <= SHORT_MAX) frame[1] = length
  else if (length <= MEDIUM_MAX) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeBigUInt64BE(BigInt(length), 2)
  }
  frame.write(text, start, 'utf8')
  return frame
}

/** A ping without content. */
export const PING_FRAME = Buffer.from([0x89, 0])

/**
 * Frames of events that several connections are about to send in the same turn of the loop: each is built once. They are
 * not kept longer, for an event waits in its stream and not here.
 */
export class SharedFrames {
  private readonly frames = new Map<object, Buffer>()

  /** @param event the same object for all who send it */
  of(event: object, text: () => string): Buffer {
    const known = this.frames.get(event)
    if (known) return known
    const frame = textFrame(text())
    this.frames.set(event, frame)
    return frame
  }

  clear(): void {
    this.frames.clear()
  }
}
