import type { FastifyRequest } from 'fastify'
import { givenTwice, offeredCredential } from './subprotocols.ts'
import type { Tickets } from './tickets.ts'
import { upgradeHead } from './upgrades.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route can be a WebSocket, whose clients may identify themselves by a subprotocol. */
    upgrade?: true
  }
}

/**
 * Before authentication: a browser cannot set the header, so that its credential, or a ticket for one, comes among the
 * subprotocols. Nowhere else is it looked for there.
 */
export function upgradeCredential(tickets: Tickets) {
  return async (request: FastifyRequest): Promise<void> => {
    if (request.routeOptions.config.upgrade !== true || upgradeHead(request.raw) === undefined) return
    const { authorization, origin, 'sec-websocket-protocol': protocols } = request.headers
    const offered = offeredCredential(protocols)
    if (!offered) return
    if (authorization !== undefined) throw givenTwice()
    request.credential =
      offered.kind === 'bearer' ? offered.credential : await tickets.redeem(offered.ticket, origin)
  }
}
