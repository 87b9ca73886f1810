import { Sha256 } from './sha256.ts'

/**
 * The hash of a text that comes in pieces, as UTF-8 of the whole: a character whose two halves come in two pieces is one
 * character.
 */
export class TextDigest {
  private readonly hash = new Sha256()
  private readonly encoder = new TextEncoder()
  private half = ''

  update(text: string): void {
    const whole = this.half + text
    this.half = HIGH_SURROGATE_AT_END.test(whole) ? whole.slice(-1) : ''
    this.hash.update(this.encoder.encode(this.half === '' ? whole : whole.slice(0, -1)))
  }

  finish(): string {
    this.hash.update(this.encoder.encode(this.half))
    return this.hash.finish()
  }
}

const HIGH_SURROGATE_AT_END = /[\ud800-\udbff]$/
