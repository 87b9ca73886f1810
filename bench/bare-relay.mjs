// The least that a gateway in Node can do: take the request, parse it, pass it on, pass the answer's bytes back.
import { createServer } from 'node:http'
import { Pool } from 'undici'

const upstream = process.argv[2]
const pool = new Pool(upstream, { connections: 64, pipelining: 1 })

const server = createServer((incoming, response) => {
  const parts = []
  incoming.on('data', (part) => parts.push(part))
  incoming.on('end', () => {
    const body = Buffer.concat(parts)
    JSON.parse(body.toString('utf8'))
    relay(incoming.url, body, response)
  })
})

function relay(path, body, response) {
  pool.dispatch(
    { origin: upstream, path, method: 'POST', headers: { 'content-type': 'application/json' }, body },
    {
      onRequestStart() {},
      onResponseStart(_controller, status, headers) {
        const { 'content-type': type, 'content-length': length } = headers
        response.writeHead(status, { 'content-type': type, ...(length ? { 'content-length': length } : {}) })
      },
      onResponseData(controller, bytes) {
        if (response.write(bytes)) return
        controller.pause()
        response.once('drain', () => controller.resume())
      },
      onResponseEnd() {
        response.end()
      },
      onResponseError(_controller, cause) {
        response.destroy(cause)
      },
    },
  )
}

server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`),
)
