import { createHash } from 'node:crypto'

/** SHA-256 of a text that comes in pieces, whatever they were cut at: a letter of two halves may come in two. */
export class TextHash {
  private readonly hash = createHash('sha256')
  private half = ''

  add(piece: string): void {
    const text = this.half + piece
    const isCut = /[\ud800-\udbff]$/.test(text)
    this.half = isCut ? text.slice(-1) : ''
    this.hash.update(isCut ? text.slice(0, -1) : text)
  }

  /** As hexadecimal digits; nothing can be added after it. */
  finish(): string {
    return this.hash.update(this.half).digest('hex')
  }
}
