import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { WebSocket, WebSocketServer } from 'ws'
import type { Config } from '../../config/schema.ts'
import { SUBPROTOCOL } from '../../contracts/realtime.ts'
import { HelixError } from '../../core/errors.ts'
import { type Drain, drainingError } from '../drain.ts'
import { identified } from '../hooks/authenticate.ts'
import { Connection } from './connection.ts'
import { CLOSE_MS, FRAGMENTS_MAX, MESSAGE_BYTES_MAX, PIECES_MAX } from './connection-limits.ts'
import type { Connections } from './connections.ts'
import { HandshakeLimits } from './handshake-limits.ts'
import { isOriginAllowed, originSet } from './origin.ts'
import type { Speaker } from './speaker.ts'
import { offeredSubprotocols } from './subprotocols.ts'
import { takeConnection, upgradeHead } from './upgrades.ts'

/** What a route that can be upgraded says of itself. */
export interface UpgradeTerms {
  /** `required`: the client must offer our subprotocol. `ignored`: the route speaks something else. */
  readonly subprotocol: 'required' | 'ignored'
  /** Who speaks on the connection. */
  speaker(connection: Connection, request: FastifyRequest): Speaker
}

/** A WebSocket that knows whose it is: listeners that all sockets share find it there. */
class OwnedSocket extends WebSocket {
  owner: Connection | undefined
}

/** Turns upgrades into connections. What is refused is refused as HTTP, before the protocol changes. */
export class Handshake {
  private readonly limits: HandshakeLimits
  private readonly origins: ReadonlySet<string>
  private readonly headers = new WeakMap<IncomingMessage, readonly string[]>()
  private readonly server: InstanceType<typeof WebSocketServer<typeof OwnedSocket>>

  constructor(
    private readonly connections: Connections,
    private readonly settings: Config['realtime'],
    private readonly drain: Pick<Drain, 'draining'>,
  ) {
    this.limits = new HandshakeLimits(settings.handshakesPerSecond, connections.clock)
    this.origins = originSet(settings.origins)
    const options = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: MESSAGE_BYTES_MAX,
      maxFragments: FRAGMENTS_MAX,
      maxBufferedChunks: PIECES_MAX,
      closeTimeout: CLOSE_MS,
      handleProtocols: (offered: Set<string>) => offered.has(SUBPROTOCOL) && SUBPROTOCOL,
      WebSocket: OwnedSocket,
    }
    this.server = new WebSocketServer<typeof OwnedSocket>(options)
    this.server.on('headers', (lines, request) => lines.push(...(this.headers.get(request) ?? [])))
  }

  /** Whether a page of that origin may open a connection. */
  allows(origin: string | undefined): boolean {
    return isOriginAllowed(origin, this.origins)
  }

  /** The handler of a route that is nothing but a socket, after authentication. */
  route(terms: UpgradeTerms) {
    return (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
      const head = upgradeHead(request.raw)
      if (!head) throw upgradeRequired('This address is a WebSocket.', { upgrade: 'websocket' })
      this.check(request, terms)
      this.open(request, reply, { head, terms })
      return reply
    }
  }

  private check(request: FastifyRequest, { subprotocol }: UpgradeTerms): void {
    const { headers } = request
    // Asked once more: who it is may have taken a while to find out, and nobody would close what is opened now.
    if (this.drain.draining) throw drainingError()
    this.limits.take(request.ip)
    if (!this.allows(headers.origin))
      throw new HelixError('origin_not_allowed', 'Pages of this origin may not open a WebSocket here.')
    if (request.raw.url?.includes('?'))
      throw new HelixError('unsupported_parameter', 'This address takes no parameters: they end up in logs.')
    if (headers['sec-websocket-version'] !== '13')
      throw upgradeRequired('Only version 13 of WebSocket is spoken here.', { 'sec-websocket-version': '13' })
    if (!/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? ''))
      throw new HelixError('invalid_value', 'Sec-WebSocket-Key is missing or wrong.', {
        param: 'Sec-WebSocket-Key',
      })
    const offered = offeredSubprotocols(headers['sec-websocket-protocol'])
    if (subprotocol === 'required' && offered.length > 0 && !offered.includes(SUBPROTOCOL))
      throw new HelixError('invalid_value', `The subprotocol is ${SUBPROTOCOL}.`, {
        param: 'Sec-WebSocket-Protocol',
      })
    if (this.connections.count(countedAs(request)) >= this.settings.connectionsPerKey)
      throw new HelixError('connection_limit_exceeded', 'This key has too many connections.', {
        retryAfterMs: 1_000,
      })
  }

  private open(
    request: FastifyRequest,
    reply: FastifyReply,
    { head, terms }: { readonly head: Buffer; readonly terms: UpgradeTerms },
  ): void {
    const opened = {
      requestId: request.id,
      address: request.ip,
      own: terms.subprotocol === 'required' && request.headers['sec-websocket-protocol'] !== undefined,
      countedAs: countedAs(request),
      organisationId: identified(request).organisationId,
    }
    this.headers.set(request.raw, [`x-request-id: ${request.id}`])
    // From here on the pipeline has nothing more to do with it.
    reply.hijack()
    const socket = takeConnection(request.raw, reply.raw)
    this.server.handleUpgrade(request.raw, socket, head, (ws) => {
      const connection = new Connection(this.connections, ws, socket, opened)
      ws.owner = connection
      this.connections.add(connection)
      connection.speaks(terms.speaker(connection, request))
      this.listen(ws)
    })
  }

  /** The same functions for every socket, so that an idle one costs no closures. */
  private listen(ws: OwnedSocket): void {
    ws.on('message', onMessage)
    ws.on('ping', onPing)
    ws.on('error', onError)
    ws.once('close', this.onClose)
  }

  private readonly onClose = closer(this)

  /** For the function that every socket calls at its end. */
  ended(connection: Connection, code: number): void {
    this.connections.remove(connection, code)
  }
}

function closer(handshake: Handshake) {
  return function (this: WebSocket, code: number): void {
    const { owner } = this as OwnedSocket
    if (owner) handshake.ended(owner, code)
  }
}

function onMessage(this: WebSocket, data: WebSocket.RawData): void {
  // With the binary type that a server has from the start, messages are buffers.
  if (Buffer.isBuffer(data)) (this as OwnedSocket).owner?.receive(data)
}

function onPing(this: WebSocket): void {
  ;(this as OwnedSocket).owner?.admit()
}

/** `ws` closes with the code that belongs to it. */
function onError(): void {}

function upgradeRequired(message: string, headers: Readonly<Record<string, string>>): HelixError {
  return new HelixError('upgrade_required', message, { headers })
}

/** Connections of a key count together; those of somebody without one by who they are. */
function countedAs(request: FastifyRequest): string {
  const { keyId, actor } = identified(request)
  return keyId ?? actor
}
