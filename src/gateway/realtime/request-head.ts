import type { IncomingMessage } from 'node:http'

/** Fields of the offer to change the protocol, which go no further than this connection. */
const OFFER = new Set(['upgrade', 'http2-settings'])

/** The head of a request as it came, without its offer to change the protocol. */
export function requestHead({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ''
    const value = rawHeaders[at + 1] ?? ''
    if (OFFER.has(name.toLowerCase())) continue
    if (name.toLowerCase() !== 'connection') lines.push(`${name}: ${value}`)
    else if (withoutOffer(value) !== '') lines.push(`${name}: ${withoutOffer(value)}`)
  }
  // The parser reads bytes as latin1 and lets no line break through: this gives the same bytes back.
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

function withoutOffer(connection: string): string {
  const options = connection.split(',').map((option) => option.trim())
  return options.filter((option) => option !== '' && !OFFER.has(option.toLowerCase())).join(', ')
}
