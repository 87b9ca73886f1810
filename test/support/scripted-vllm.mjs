// Speaks the command line and the HTTP of vLLM and of SGLang, as far as HelixFlow uses them, without a card. What goes
// wrong is in `behaviour.json` of the model's folder.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'

const [first, ...others] = process.argv.slice(2)
const isVllm = first === 'serve'
const args = isVllm ? others : [first, ...others]
const VLLM_HELP = ['--uds', '--host', '--port', '--max-model-len']
const OLD_HELP = ['--host', '--port', '--max-model-len']

if (args.some((one) => one.startsWith('--help'))) {
  if (process.env.OLD && args.includes('--help=all')) process.exit(2)
  console.log((process.env.OLD || !isVllm ? OLD_HELP : VLLM_HELP).map((flag) => `  ${flag} VALUE`).join('\n'))
  process.exit(0)
}

/** The last one counts, as with argparse. */
function argumentOf(flag) {
  const at = args.lastIndexOf(flag)
  return at < 0 ? undefined : args[at + 1]
}

const folder = isVllm ? args[0] : argumentOf('--model-path')
const behaviour = JSON.parse(readFileSync(join(folder, 'behaviour.json'), 'utf8'))
const apiKey = isVllm
  ? process.env.VLLM_API_KEY
  : /api-key: (\S+)/.exec(readFileSync(argumentOf('--config'), 'utf8'))[1]
const contextLength = Number(argumentOf(isVllm ? '--max-model-len' : '--context-length'))
console.log(`server args: api_key='${apiKey}' model='${folder}'`)
if (behaviour.failsToStart) {
  console.error(`ValueError: ${folder} has no weights for this card`)
  process.exit(1)
}
// The part that computes is a process of its own, as in both.
spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', `core-of-${folder}`], { stdio: 'ignore' })

function answer(request, body) {
  const path = request.url.split('?')[0]
  if (path === '/health') return [200, {}]
  if (request.headers.authorization !== `Bearer ${apiKey}`) return [401, { error: 'Unauthorized' }]
  const alias = argumentOf('--served-model-name')
  if (path === '/v1/models') return [200, { data: [{ id: alias, max_model_len: contextLength }] }]
  if (behaviour.diesComputing) process.abort()
  if (behaviour.failsComputing) return [500, { error: 'no kernel image is available' }]
  if (body.model !== alias) return [404, { error: 'no such model' }]
  const usage = { completion_tokens: body.max_tokens }
  if (path === '/v1/completions') return [200, { model: alias, choices: [{ text: 'x' }], usage }]
  const message = { role: 'assistant', content: 'x' }
  return path === '/v1/chat/completions' ? [200, { model: alias, choices: [{ message }], usage }] : [404, {}]
}

const server = createServer((request, response) => {
  let text = ''
  request.on('data', (chunk) => {
    text += chunk
  })
  request.on('end', () => {
    console.log(`served ${request.url} ${text}`)
    const [status, body] = answer(request, text === '' ? {} : JSON.parse(text))
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
})
process.on('SIGTERM', () => process.exit(0))
if (!behaviour.neverReady) {
  const socketPath = argumentOf('--uds')
  if (socketPath) server.listen(socketPath)
  else server.listen(Number(argumentOf('--port')), argumentOf('--host'))
}
