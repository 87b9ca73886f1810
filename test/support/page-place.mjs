// Runs the built client where there is what a web page has and nothing of Node: `node --experimental-vm-modules
// page-place.mjs FOLDER URL KEY MODEL` prints the text of one chat.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import vm from 'node:vm'
import { WebSocket } from 'ws'

const [, , folder = '', url, apiKey, model] = process.argv
const context = vm.createContext({
  ...{ WebSocket, URL, AbortController, TextEncoder, TextDecoder, crypto, performance, fetch, btoa },
  ...{ setTimeout, clearTimeout, queueMicrotask },
})
const loaded = new Map()

function load(file) {
  const known = loaded.get(file)
  if (known) return known
  const module = new vm.SourceTextModule(readFileSync(join(folder, file), 'utf8'), {
    context,
    identifier: file,
  })
  loaded.set(file, module)
  return module
}

const index = load('index.js')
await index.link((name) => load(name.slice('./'.length)))
await index.evaluate()
const client = new index.namespace.HelixFlowClient({ url, apiKey })
const { text } = await client.chat({ model, messages: [{ role: 'user', content: 'Hello' }] }).result
process.stdout.write(text)
await client.close()
