/** Polynomial 0x04C11DB7, most significant bit first, as POSIX lays down for `cksum`. */
const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index << 24
  for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1
  return value >>> 0
})

/**
 * What the command `cksum` says of a file: the one checksum that every system's shell can make. It finds any single
 * flipped bit or byte, which is what it is for here; against forgery it is no help.
 */
export class PosixCksum {
  private crc = 0
  private sizeBytes = 0

  update(piece: Uint8Array): void {
    let crc = this.crc
    for (const byte of piece) crc = ((crc << 8) ^ (TABLE[((crc >>> 24) ^ byte) & 0xff] ?? 0)) >>> 0
    this.crc = crc
    this.sizeBytes += piece.length
  }

  /** `<checksum> <size>`. */
  digest(): string {
    const { sizeBytes } = this
    const length: number[] = []
    for (let rest = sizeBytes; rest > 0; rest = Math.floor(rest / 256)) length.push(rest % 256)
    this.update(Uint8Array.from(length))
    return `${~this.crc >>> 0} ${sizeBytes}`
  }
}
