import { bytes, duration, percentage, short } from './figure-text.ts'

/** The ways to show a figure, with the function of Prometheus' templates that shows it alike. */
const FORMS = {
  number: { here: short, there: 'humanize', after: '' },
  percent: { here: percentage, there: 'humanizePercentage', after: '' },
  duration: { here: duration, there: 'humanizeDuration', after: '' },
  bytes: { here: bytes, there: 'humanize1024', after: 'B' },
} as const

type Form = keyof typeof FORMS

const PLACE = /\{(\w+)(?: (number|percent|duration|bytes))?\}/g

/** The text with its labels and its figure. A label that is not there is empty. */
export function rendered(text: string, labels: Readonly<Record<string, string>>, value: number): string {
  return text.replaceAll(PLACE, (_place, name: string, form: Form = 'number') => {
    if (name !== 'value') return labels[name] ?? ''
    return FORMS[form].here(value) + FORMS[form].after
  })
}

/** The same as an annotation of a rule of Prometheus. */
export function prometheusTemplate(text: string): string {
  return text.replaceAll(PLACE, (_place, name: string, form: Form = 'number') => {
    if (name !== 'value') return `{{ $labels.${name} }}`
    return `{{ $value | ${FORMS[form].there} }}${FORMS[form].after}`
  })
}

/** The labels that a text speaks of. */
export function labelsIn(text: string): readonly string[] {
  return [...text.matchAll(PLACE)].map(([, name = '']) => name).filter((name) => name !== 'value')
}
