/** How far a long piece of work is. `total` is absent while it is unknown. */
export interface Progress {
  readonly step: string
  readonly done: number
  readonly total?: number | undefined
  readonly unit: 'bytes' | 'files' | 'steps'
}

export type OnProgress = (progress: Progress) => void

export const noProgress: OnProgress = () => {}
