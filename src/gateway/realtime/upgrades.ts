import { type IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { requestHead } from './request-head.ts'

/** Requests that came with an upgrade to WebSocket, and what was read of their connections beyond their heads. */
const heads = new WeakMap<IncomingMessage, Buffer>()

/** What followed the head of an upgrade; undefined for a request that is none. */
export function upgradeHead(request: IncomingMessage): Buffer | undefined {
  return heads.get(request)
}

/**
 * Lets upgrades to WebSocket through the same pipeline as every other request: they are routed, refused and logged as
 * HTTP until a route takes the connection (`takeConnection`). Whoever asks for another protocol gets an ordinary answer.
 */
export function acceptUpgrades(app: FastifyInstance): void {
  app.server.on('upgrade', (request: IncomingMessage, socket: unknown, head: Buffer) => {
    if (!(socket instanceof Socket)) return
    // Node has taken its own listeners off; an error that nobody hears would end the process.
    socket.on('error', ignore)
    afterAnswers(socket, () => {
      if (socket.destroyed) return
      if (asksForWebSocket(request)) routeUpgrade(app, request, { socket, head })
      else serveWithoutUpgrade(app, request, { socket, head })
    })
  })
}

/** The connection of an upgrade, for good: the response is over, as far as the pipeline is concerned. */
export function takeConnection(request: IncomingMessage, response: ServerResponse): Socket {
  const { socket } = request
  response.statusCode = 101
  response.detachSocket(socket)
  socket.off('error', ignore)
  response.emit('close')
  return socket
}

interface Connected {
  readonly socket: Socket
  readonly head: Buffer
}

/** A handshake is a GET; with another method the header is no more than a wish. */
function asksForWebSocket({ method, headers: { upgrade } }: IncomingMessage): boolean {
  return method === 'GET' && upgrade?.trim().toLowerCase() === 'websocket'
}

/** Answers to requests that were sent before on the same connection go out first. */
function afterAnswers(socket: Socket, proceed: () => void): void {
  const { _httpMessage: pending } = socket as Socket & { readonly _httpMessage?: ServerResponse | null }
  if (pending) pending.once('close', () => afterAnswers(socket, proceed))
  else proceed()
}

function routeUpgrade(app: FastifyInstance, request: IncomingMessage, { socket, head }: Connected): void {
  heads.set(request, head)
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket)
  // For a response that it did not make itself, nobody tells the end but us.
  response.once('finish', () => {
    response.detachSocket(socket)
    // What a refused client has sent after its head is dropped, so that it can read why.
    socket.resume()
    socket.destroySoon()
    response.emit('close')
  })
  app.routing(request, response)
}

/**
 * With a listener for upgrades Node hands over every request that has the header, also those of clients that offer
 * HTTP/2 to everybody (`Upgrade: h2c`). The offer is declined by reading the request again without it.
 */
function serveWithoutUpgrade(
  app: FastifyInstance,
  request: IncomingMessage,
  { socket, head }: Connected,
): void {
  socket.off('error', ignore)
  socket.unshift(Buffer.concat([requestHead(request), head]))
  app.server.emit('connection', socket)
}

function ignore(): void {}
