import type { Query } from '../src/monitor/query/query.ts'

/** How numbers are written, by Grafana's names. */
export type Unit =
  | 'bytes'
  | 'celsius'
  | 'cps'
  | 'joule'
  | 'none'
  | 'ops'
  | 'percentunit'
  | 'reqps'
  | 's'
  | 'short'
  | 'watt'

export type Colour = 'green' | 'yellow' | 'orange' | 'red' | 'blue' | 'text'

export interface Threshold {
  /** Null: from below everything. */
  readonly from: number | null
  readonly colour: Colour
}

/** One answer to draw. */
export interface Series {
  readonly query: Query
  /** What to call it, with labels as `{{model}}`. */
  readonly legend: string
}

/** A word for a number, where the number is a state. */
export interface Word {
  readonly value: number
  readonly text: string
  readonly colour: Colour
}

/** `number`: one large figure; `states`: what was in which state when; `bars`: one bar for each series. */
export type Look = 'lines' | 'stack' | 'number' | 'gauge' | 'bars' | 'states' | 'table'

export interface Panel {
  readonly look: Look
  readonly title: string
  /** In plain words: what is shown, and when to worry. */
  readonly description: string
  readonly unit: Unit
  readonly series: readonly Series[]
  readonly thresholds?: readonly Threshold[]
  readonly words?: readonly Word[]
  /** What to say where there is nothing. */
  readonly empty?: string
  readonly min?: number
  readonly max?: number
  readonly decimals?: number
  /** In Grafana's columns, of 24; by default what suits the look. */
  readonly width?: number
  readonly height?: number
  /** Not narrowed by what is chosen: it puts figures together that do not have the same labels. */
  readonly whole?: boolean
}

/** Panels under a heading. */
export interface Section {
  readonly title: string
  readonly panels: readonly Panel[]
}

/** A label by which a whole dashboard can be narrowed. */
export type Variable = 'role' | 'instance' | 'model' | 'device' | 'project'

export interface Dashboard {
  /** Its address in Grafana, and its file. */
  readonly uid: string
  readonly title: string
  readonly description: string
  readonly variables: readonly Variable[]
  readonly sections: readonly Section[]
}

/** Good, then doubtful from the first bound on, then bad. */
export function worseAbove(doubtful: number, bad: number): readonly Threshold[] {
  return [
    { from: null, colour: 'green' },
    { from: doubtful, colour: 'orange' },
    { from: bad, colour: 'red' },
  ]
}

/** Bad below the first bound, doubtful below the second. */
export function worseBelow(bad: number, doubtful: number): readonly Threshold[] {
  return [
    { from: null, colour: 'red' },
    { from: bad, colour: 'orange' },
    { from: doubtful, colour: 'green' },
  ]
}

/** Where any at all is bad. */
export function badFrom(bound: number): readonly Threshold[] {
  return [
    { from: null, colour: 'green' },
    { from: bound, colour: 'red' },
  ]
}
