// The upstream of the gateway benchmark: the same chat completion for everybody, whole or as an event stream.
// Plain JavaScript, as the other processes under test, so that no loader is measured with them.
import { createServer } from 'node:http'

const WORDS = ' one small step at a time leads far if nobody turns back before the end of the road'.match(
  / \w+/g,
)
const HEAD = { id: 'chatcmpl-benchmark000000000000000', created: 1_790_000_000, model: 'mock' }
const USAGE = { prompt_tokens: 41, completion_tokens: 18, total_tokens: 59 }
const TEXT = WORDS.join('')

const WHOLE = Buffer.from(
  JSON.stringify({
    ...HEAD,
    object: 'chat.completion',
    system_fingerprint: 'fp_0123456789',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: TEXT, refusal: null, annotations: [] },
        logprobs: null,
        finish_reason: 'stop',
      },
    ],
    usage: { ...USAGE, prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 } },
    service_tier: 'default',
  }),
)

/** 20 chunks: the role, the words, the end. */
const CHUNKS = [
  frame({ delta: { role: 'assistant', content: '' }, finish_reason: null }),
  ...WORDS.map((content) => frame({ delta: { content }, finish_reason: null })),
  frame({ delta: {}, finish_reason: 'stop' }),
]
const USAGE_CHUNK = event({ choices: [], usage: USAGE })
const DONE = Buffer.from('data: [DONE]\n\n')

function frame(choice) {
  return event({ choices: [{ index: 0, logprobs: null, ...choice }] })
}

function event(fields) {
  return Buffer.from(`data: ${JSON.stringify({ ...HEAD, object: 'chat.completion.chunk', ...fields })}\n\n`)
}

function answer(request, response) {
  if (!request.stream) {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': WHOLE.length })
    response.end(WHOLE)
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  const events = request.stream_options?.include_usage ? [...CHUNKS, USAGE_CHUNK, DONE] : [...CHUNKS, DONE]
  let at = 0
  // One write per turn of the loop: Node would join those of the same turn into one.
  const next = () => {
    response.write(events[at++])
    if (at < events.length) setImmediate(next)
    else response.end()
  }
  next()
}

const server = createServer((incoming, response) => {
  const parts = []
  incoming.on('data', (part) => parts.push(part))
  incoming.on('end', () => answer(JSON.parse(Buffer.concat(parts).toString('utf8')), response))
})
server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`),
)
