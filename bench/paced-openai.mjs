// An upstream whose streams say, every so often, what time it is: how late a reader hears it is what stood between.
import { createServer } from 'node:http'

const [everyMs, chunks] = process.argv.slice(2).map(Number)
const HEAD = {
  id: 'chatcmpl-paced',
  created: 1_790_000_000,
  model: 'mock',
  object: 'chat.completion.chunk',
}

function event(fields) {
  return `data: ${JSON.stringify({ ...HEAD, ...fields })}\n\n`
}

function piece(delta, finish_reason = null) {
  return event({ choices: [{ index: 0, delta, finish_reason }] })
}

const server = createServer((incoming, response) => {
  incoming.resume()
  incoming.on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.write(piece({ role: 'assistant', content: '' }))
    let told = 0
    const timer = setInterval(() => {
      response.write(piece({ content: `${process.hrtime.bigint()} ` }))
      if (++told < chunks) return
      clearInterval(timer)
      const usage = { prompt_tokens: 3, completion_tokens: chunks, total_tokens: chunks + 3 }
      response.end(`${piece({}, 'stop')}${event({ choices: [], usage })}data: [DONE]\n\n`)
    }, everyMs)
    response.on('close', () => clearInterval(timer))
  })
})
server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`),
)
