import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../client/client.ts'
import { OPERATIONS } from '../contracts/administration/operations.ts'
import { HelixError } from '../core/errors.ts'
import { askModel } from './ask-model.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import { converse } from './conversation.ts'

type ChatFlags = CommonOptions & { readonly message?: string; readonly url?: string; readonly key?: string }

interface Endpoint {
  readonly url: string
  readonly key: string
  /** Takes back what was made for this conversation. */
  close(): Promise<void>
}

const KEY_LIFE_MS = 24 * 60 * 60 * 1000
/** A server that restarts is waited for; one that is not there is not. */
const GIVE_UP_MS = 10_000

export function chatCommand(): Command {
  return command('chat', 'talk to a model in the terminal')
    .argument('[model]', 'which one (default: models.default)')
    .option('-m, --message <text>', 'ask one question and leave; piped input is one question too')
    .option('--url <url>', 'a HelixFlow elsewhere; needs --key or HELIXFLOW_API_KEY')
    .option('--key <key>', 'API key (default: HELIXFLOW_API_KEY, else one made for this conversation)')
    .action((model: string | undefined, options: ChatFlags) =>
      runCommand(options, (context) => chat(context, model, options)),
    )
}

async function chat(context: CommandContext, model: string | undefined, flags: ChatFlags): Promise<number> {
  const name = model ?? context.settings.config.models.default
  if (!name) throw new HelixError('invalid_arguments', 'Say which model: helixflow chat MODEL')
  const endpoint = await openEndpoint(context, flags)
  const { url, key: apiKey } = endpoint
  const client = new HelixFlowClient({ url, apiKey, WebSocket, giveUpMs: GIVE_UP_MS })
  const unread = new AbortController()
  const leave = () => unread.abort()
  process.stdout.on('error', leave)
  const signal = AbortSignal.any([context.signal, unread.signal])
  try {
    const question = flags.message ?? (process.stdin.isTTY ? undefined : await readAll(process.stdin))
    if (question === undefined) await talk({ ...context, signal }, client, name)
    else await answerOnce({ ...context, signal }, client, name, question)
    return 0
  } catch (reason) {
    // Whoever read the answer, as `head` does, has had enough of it.
    if (unread.signal.aborted) return 0
    throw reason
  } finally {
    await client.close()
    await endpoint.close()
  }
}

async function openEndpoint({ control, settings }: CommandContext, flags: ChatFlags): Promise<Endpoint> {
  const key = flags.key ?? settings.environment.apiKey
  const url = flags.url ?? (await control.get<{ url: string }>('/admin/v1/status')).url
  if (key !== undefined) return { url, key, close: async () => {} }
  if (flags.url !== undefined) {
    throw new HelixError('invalid_arguments', 'Another server needs a key: --key, or HELIXFLOW_API_KEY.')
  }
  const expiresAt = new Date(Date.now() + KEY_LIFE_MS).toISOString()
  const made = await control.administer(OPERATIONS['keys.create'], { name: 'helixflow chat', expiresAt })
  return {
    url,
    key: String(made['plaintext']),
    close: async () => void (await control.administer(OPERATIONS['keys.revoke'], { id: made['id'] })),
  }
}

async function answerOnce(
  context: CommandContext,
  client: HelixFlowClient,
  model: string,
  question: string,
): Promise<void> {
  const messages = [{ role: 'user', content: question }] as const
  const write = context.json ? () => {} : (text: string) => void process.stdout.write(text)
  const answer = await askModel(client, { model, messages, signal: context.signal, write })
  context.output.result({ model, message: answer }, () => '')
}

async function talk(context: CommandContext, client: HelixFlowClient, model: string): Promise<void> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  context.output.note(`Talking to ${model}. An empty line or Ctrl-D ends.`)
  const write = (text: string) => void process.stdout.write(text)
  await converse({ terminal, client, model, signal: context.signal, write })
}

async function readAll(stream: NodeJS.ReadStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8').trim()
}
