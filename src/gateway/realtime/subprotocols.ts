import { BEARER_SUBPROTOCOL, TICKET_SUBPROTOCOL } from '../../contracts/realtime.ts'
import { HelixError } from '../../core/errors.ts'

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const SUBPROTOCOLS_MAX = 16

/** The subprotocols that a client offers. @throws HelixError `invalid_value` */
export function offeredSubprotocols(header: string | undefined): readonly string[] {
  if (header === undefined) return []
  const offered = header.split(',').map((one) => one.trim())
  if (
    offered.length > SUBPROTOCOLS_MAX ||
    new Set(offered).size < offered.length ||
    !offered.every((one) => TOKEN.test(one))
  )
    throw new HelixError('invalid_value', 'Sec-WebSocket-Protocol is not a list of different tokens.', {
      param: 'Sec-WebSocket-Protocol',
    })
  return offered
}

/** What a client identifies itself by where it cannot send the header Authorization. */
export type OfferedCredential =
  | { readonly kind: 'bearer'; readonly credential: string }
  | { readonly kind: 'ticket'; readonly ticket: string }

/** @throws HelixError `invalid_value`; `invalid_api_key` when what is there cannot be a credential */
export function offeredCredential(header: string | undefined): OfferedCredential | undefined {
  const offered = offeredSubprotocols(header).filter(
    (one) => one.startsWith(BEARER_SUBPROTOCOL) || one.startsWith(TICKET_SUBPROTOCOL),
  )
  const [one] = offered
  if (one === undefined) return undefined
  if (offered.length > 1) throw givenTwice()
  if (one.startsWith(TICKET_SUBPROTOCOL))
    return { kind: 'ticket', ticket: one.slice(TICKET_SUBPROTOCOL.length) }
  const credential = Buffer.from(one.slice(BEARER_SUBPROTOCOL.length), 'base64url').toString('latin1')
  if (/^[\x21-\x7e]{1,8192}$/.test(credential)) return { kind: 'bearer', credential }
  throw new HelixError('invalid_api_key', 'The subprotocol does not hold an API key.')
}

export function givenTwice(): HelixError {
  return new HelixError('invalid_value', 'Give the credential once: as header, or as one subprotocol.', {
    param: 'Sec-WebSocket-Protocol',
  })
}
