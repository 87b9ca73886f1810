import { type PlacementStrategy, place } from './placement.ts'

const GIB = 2 ** 30

/** The device that has the least left afterwards, so that large holes stay for large models. */
export const bestFit: PlacementStrategy = (view, spec) =>
  place(view, spec, {
    parts: ['leftoverBytes'],
    inSeconds: false,
    against: ({ id }, bytes) => [(view.freeBytes.get(id) ?? 0) - bytes],
    because: ([leftoverBytes = 0]) => `least leftover, ${(leftoverBytes / GIB).toFixed(1)} GiB`,
  })
