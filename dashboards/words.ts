import type { Word } from './panel.ts'

/** 1 is as it should be, 0 is not. */
export function yesOrNo(yes: string, no: string): readonly Word[] {
  return [
    { value: 1, text: yes, colour: 'green' },
    { value: 0, text: no, colour: 'red' },
  ]
}

/** 0 is as it should be, 1 is not. */
export function noOrYes(no: string, yes: string): readonly Word[] {
  return [
    { value: 0, text: no, colour: 'green' },
    { value: 1, text: yes, colour: 'red' },
  ]
}

export const HEALTH: readonly Word[] = [
  { value: 1, text: 'well', colour: 'green' },
  { value: 0.5, text: 'lesser trouble', colour: 'orange' },
  { value: 0, text: 'does not work', colour: 'red' },
]
