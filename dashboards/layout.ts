import type { Dashboard, Look, Panel, Section } from './panel.ts'

export const COLUMNS = 24

export interface Place {
  readonly id: number
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}

export interface PlacedPanel {
  readonly panel: Panel
  readonly place: Place
}

export interface PlacedSection {
  readonly section: Section
  readonly place: Place
  readonly panels: readonly PlacedPanel[]
}

const SIZES: Readonly<Record<Look, { readonly w: number; readonly h: number }>> = {
  number: { w: 4, h: 4 },
  gauge: { w: 4, h: 6 },
  bars: { w: 8, h: 8 },
  lines: { w: 8, h: 8 },
  stack: { w: 8, h: 8 },
  states: { w: 12, h: 8 },
  table: { w: 12, h: 8 },
}

/** Where each heading and panel goes: from left to right, and below where the row is full. Numbers follow the reading order. */
export function laidOut({ sections }: Dashboard): readonly PlacedSection[] {
  let id = 0
  let top = 0
  return sections.map((section) => {
    const place = { id: ++id, x: 0, y: top++, w: COLUMNS, h: 1 }
    let x = 0
    let rowHeight = 0
    const panels = section.panels.map((panel) => {
      const w = panel.width ?? SIZES[panel.look].w
      const h = panel.height ?? SIZES[panel.look].h
      if (x + w > COLUMNS) {
        x = 0
        top += rowHeight
        rowHeight = 0
      }
      const placed = { panel, place: { id: ++id, x, y: top, w, h } }
      x += w
      rowHeight = Math.max(rowHeight, h)
      return placed
    })
    top += rowHeight
    return { section, place, panels }
  })
}
