import { HelixFlowError } from './helix-flow-error.ts'

/** The same words as in contracts/realtime.ts; a test compares them, for only types may be imported from there. */
export const SUBPROTOCOL = 'helixflow.v1'
const BEARER = 'hf.bearer.'
const TICKET = 'hf.ticket.'

/** Where the socket of a server is, from the server's address. */
export function socketUrl(base: string): string {
  const url = addressOf(base)
  url.protocol = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:'
  return url.href
}

/** The same place for a request without upgrade, which says in words why there is none. */
export function probeUrl(base: string): string {
  return socketUrl(base).replace(/^ws/, 'http')
}

export function keyProtocols(key: string): string[] {
  return [SUBPROTOCOL, BEARER + base64Url(key)]
}

export function ticketProtocols(ticket: string): string[] {
  return [SUBPROTOCOL, TICKET + ticket]
}

function addressOf(base: string): URL {
  const url = URL.canParse(base) ? new URL(base) : undefined
  if (url === undefined || !/^(https?|wss?):$/.test(url.protocol)) {
    throw new HelixFlowError('invalid_value', `Not the address of a server: ${base}`, { status: 400 })
  }
  url.pathname = `${url.pathname.replace(/\/(v1\/?)?$/, '')}/ws`
  url.search = ''
  url.hash = ''
  return url
}

/** Of the UTF-8, without padding: the characters that the name of a subprotocol may have. */
function base64Url(text: string): string {
  const binary = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join('')
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}
