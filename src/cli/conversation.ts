import type { Interface } from 'node:readline/promises'
import type { HelixFlowClient } from '../client/client.ts'
import { askModel, type ChatTurn } from './ask-model.ts'

export interface Conversation {
  /** Where questions are typed; what ends it ends the conversation. */
  readonly terminal: Interface
  readonly client: HelixFlowClient
  readonly model: string
  /** Ends the answer that is on its way, and the conversation with it. */
  readonly signal: AbortSignal
  write(text: string): void
}

/**
 * Asks and answers until an empty line, Ctrl-D or Ctrl-C. A terminal that hands over each key knows no interrupt: there
 * Ctrl-C closes what reads the keys, also in the middle of an answer.
 */
export async function converse({ terminal, client, model, signal, write }: Conversation): Promise<void> {
  const messages: ChatTurn[] = []
  const left = new AbortController()
  const ended = new Promise<''>((resolve) =>
    terminal.once('close', () => {
      left.abort()
      resolve('')
    }),
  )
  const stop = AbortSignal.any([signal, left.signal])
  try {
    for (;;) {
      const question = await Promise.race([ended, terminal.question('> ')])
      if (question.trim() === '') return
      messages.push({ role: 'user', content: question })
      const content = await askModel(client, { model, messages, signal: stop, write })
      messages.push({ role: 'assistant', content })
      write('\n')
    }
  } catch (reason) {
    if (!left.signal.aborted) throw reason
  } finally {
    terminal.close()
  }
}
