import type { HelixFlowClient } from '../client/client.ts'
import { HelixFlowError } from '../client/helix-flow-error.ts'
import { ERROR_CODES, HelixError } from '../core/errors.ts'

export interface ChatTurn {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

export interface Question {
  readonly model: string
  readonly messages: readonly ChatTurn[]
  readonly signal: AbortSignal
  write(text: string): void
}

/** The whole answer, written while it comes. @throws HelixError */
export async function askModel(client: HelixFlowClient, question: Question): Promise<string> {
  const { model, messages, signal, write } = question
  try {
    const stream = client.chat({ model, messages }, { signal })
    for await (const text of stream.text()) write(text)
    return (await stream.result).text
  } catch (reason) {
    throw reason instanceof HelixFlowError ? toHelixError(reason) : reason
  }
}

/** The client's own codes are not in the table of the server's. */
function toHelixError(error: HelixFlowError): HelixError {
  const known = ERROR_CODES.find((code) => code === error.code)
  const { param, message } = error
  if (known !== undefined) return new HelixError(known, message, { param, cause: error })
  if (error.code === 'integrity')
    return new HelixError('upstream_invalid_response', message, { cause: error })
  return new HelixError('not_running', `The server cannot be talked to: ${message}`, { cause: error })
}
