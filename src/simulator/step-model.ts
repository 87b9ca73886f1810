/**
 * How long an engine takes for one step of continuous batching: a fixed part, so much for each sequence that gets its
 * next token, for each prompt that begins in it, and for each token of prompts that it reads. Linear because that is what
 * measured steps are, within their noise, until attention over long contexts dominates; see docs/simulator.md.
 */
export interface StepModel {
  readonly fixedMs: number
  readonly perSequenceMs: number
  readonly perPromptMs: number
  readonly perPromptTokenMs: number
  /** Tokens that one step takes at most, those of prompts and the next ones of sequences together. */
  readonly stepTokensMax: number
}

/** What is done in one step. */
export interface StepWork {
  /** That get their next token. */
  readonly sequences: number
  /** Whose reading begins. */
  readonly prompts: number
  readonly promptTokens: number
}

export function stepMs(model: StepModel, { sequences, prompts, promptTokens }: StepWork): number {
  return (
    model.fixedMs +
    sequences * model.perSequenceMs +
    prompts * model.perPromptMs +
    promptTokens * model.perPromptTokenMs
  )
}

/** Time to the first token of a prompt that has the engine to itself. */
export function unloadedFirstTokenMs(model: StepModel, promptTokens: number): number {
  const steps = Math.max(1, Math.ceil(promptTokens / model.stepTokensMax))
  return steps * model.fixedMs + model.perPromptMs + promptTokens * model.perPromptTokenMs
}

/** Time between two tokens of a sequence that has the engine to itself. */
export function unloadedTokenMs(model: StepModel): number {
  return stepMs(model, { sequences: 1, prompts: 0, promptTokens: 0 })
}
