import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { parseRequest } from '../../contracts/openai/parse.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { OneTimeSecrets } from '../../streams/secrets.ts'

/** What a ticket stands for. */
export interface TicketHolder {
  readonly credential: string
  /** The page that may use it; undefined: a program. */
  readonly origin: string | undefined
}

export const TICKET_MS = 30_000
const TICKET_BYTES = 32
const TICKET = /^[A-Za-z0-9_-]{43}$/
const NONCE_BYTES = 12
const TAG_BYTES = 16

const Holder = z.strictObject({
  credential: z.string(),
  origin: z.string().optional(),
  untilMs: z.number(),
})

/**
 * Tickets open one connection each, in the name of the credential that asked for them. The store gets the credential
 * sealed with a key that only the ticket gives: who reads the store has neither.
 */
export class Tickets {
  constructor(
    private readonly secrets: OneTimeSecrets,
    private readonly clock: Clock,
  ) {}

  async issue({ credential, origin }: TicketHolder): Promise<string> {
    const ticket = randomBytes(TICKET_BYTES).toString('base64url')
    const holder = JSON.stringify({ credential, origin, untilMs: this.clock.now() + TICKET_MS })
    await this.secrets.put(nameOf(ticket), seal(ticket, holder), TICKET_MS)
    return ticket
  }

  /**
   * Whoever presents it first has it.
   * @throws HelixError `invalid_token` when it is none, was used, is over, or is another page's
   */
  async redeem(ticket: string, origin: string | undefined): Promise<string> {
    const sealed = TICKET.test(ticket) ? await this.secrets.take(nameOf(ticket)) : undefined
    if (sealed === undefined) throw invalidTicket()
    const holder = parseRequest(Holder, JSON.parse(open(ticket, sealed)))
    if (holder.untilMs <= this.clock.now() || holder.origin !== origin) throw invalidTicket()
    return holder.credential
  }
}

function invalidTicket(): HelixError {
  return new HelixError(
    'invalid_token',
    'The ticket is not valid: it was used, is over, or is not from here.',
  )
}

function nameOf(ticket: string): string {
  return createHash('sha256').update(`ticket ${ticket}`).digest('hex')
}

function seal(ticket: string, text: string): string {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', keyOf(ticket), nonce)
  const sealed = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return sealed.toString('base64')
}

/** @throws HelixError `invalid_token` when the store gave something else than was put there */
function open(ticket: string, text: string): string {
  try {
    const sealed = Buffer.from(text, 'base64')
    const decipher = createDecipheriv('aes-256-gcm', keyOf(ticket), sealed.subarray(0, NONCE_BYTES))
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
    return (
      decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
    )
  } catch {
    throw invalidTicket()
  }
}

function keyOf(ticket: string): Buffer {
  return Buffer.from(hkdfSync('sha256', ticket, '', 'helixflow ticket', 32))
}
