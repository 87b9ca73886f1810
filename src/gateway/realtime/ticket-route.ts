import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import { HelixError } from '../../core/errors.ts'
import { presentedCredential } from '../hooks/authenticate.ts'
import type { Handshake } from './handshake.ts'
import { TICKET_MS, type Tickets } from './tickets.ts'

const TicketRequest = z.strictObject({ origin: z.string().min(1).max(512).optional() })

/** POST /v1/ws/tickets: what a page opens one connection with, in the name of the caller. */
export function issueTicket(tickets: Tickets, handshake: Handshake) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const { origin } = parseRequest(TicketRequest, parseJson(request.body as Buffer))
    if (!handshake.allows(origin))
      throw new HelixError('origin_not_allowed', 'Pages of this origin may not open a WebSocket here.', {
        param: 'origin',
      })
    const ticket = await tickets.issue({ credential: presentedCredential(request), origin })
    reply.header('cache-control', 'no-store')
    return { ticket, expires_in: TICKET_MS / 1_000 }
  }
}
