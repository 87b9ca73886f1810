import type { Answer, Rewrite } from './exchange.ts'

/**
 * Log probabilities of a text completion in the form that this older interface has. llama-server gives them in the
 * form of the chat interface.
 */
export class TextLogprobs implements Rewrite {
  /** Length of the text so far, by choice. */
  private readonly offsets = new Map<number, number>()

  whole(answer: Answer): Answer {
    return {
      ...answer,
      choices: (answer['choices'] as readonly TextChoice[]).map((choice) => this.choice(choice)),
    }
  }

  chunk(chunk: Answer): readonly Answer[] {
    return [this.whole(chunk)]
  }

  private choice(choice: TextChoice): Answer {
    const content = choice.logprobs?.content
    if (!content) return { ...choice }
    let offset = this.offsets.get(choice.index) ?? 0
    const text_offset = content.map(({ token }) => {
      const at = offset
      offset += token.length
      return at
    })
    this.offsets.set(choice.index, offset)
    const logprobs = {
      tokens: content.map(({ token }) => token),
      token_logprobs: content.map(({ logprob }) => logprob),
      top_logprobs: content.map(({ top_logprobs }) =>
        Object.fromEntries(top_logprobs.map(({ token, logprob }) => [token, logprob])),
      ),
      text_offset,
    }
    return { ...choice, logprobs }
  }
}

interface TokenLogprob {
  readonly token: string
  readonly logprob: number
}

interface TextChoice {
  readonly index: number
  readonly logprobs?: {
    readonly content?: readonly (TokenLogprob & { readonly top_logprobs: readonly TokenLogprob[] })[]
  }
}
