/**
 * How long an engine takes for one step of continuous batching: a fixed part, so much for each sequence that gets its
 * next token, and so much for each token of a prompt that is read in the same step. Linear because that is what
 * measured steps are, within their noise, until attention over long contexts dominates; see docs/simulator.md.
 */
export interface StepModel {
  readonly fixedMs: number
  readonly perSequenceMs: number
  readonly perPromptTokenMs: number
  /** Tokens that one step takes at most, those of prompts and the next ones of sequences together. */
  readonly stepTokensMax: number
}

export function stepMs(model: StepModel, sequences: number, promptTokens: number): number {
  return model.fixedMs + sequences * model.perSequenceMs + promptTokens * model.perPromptTokenMs
}

/** Time to the first token of a prompt that has the engine to itself. */
export function unloadedFirstTokenMs(model: StepModel, promptTokens: number): number {
  const steps = Math.max(1, Math.ceil(promptTokens / model.stepTokensMax))
  return steps * model.fixedMs + promptTokens * model.perPromptTokenMs
}

/** Time between two tokens of a sequence that has the engine to itself. */
export function unloadedTokenMs(model: StepModel): number {
  return stepMs(model, 1, 0)
}
