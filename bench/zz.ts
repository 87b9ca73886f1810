import { traces } from '/tmp/proto/base.ts'
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { AdaptiveCache, ENTRY_OVERHEAD_BYTES } from '/work/wt/evict/src/cache/adaptive-cache.ts'
import { keysOf } from '/work/wt/evict/test/support/eviction-rivals.ts'
for (const [n, pct] of [['zipf0.9', 10], ['zipf0.7', 20], ['conv', 10], ['zipf1.1', 20]] as const) {
  const t = traces[n]!, u = keysOf(t), c = Math.round(u*pct/100)
  const names = Array.from({length: u}, (_, i) => hash('sha256', 'k' + i))
  const ours = () => { const cache = new AdaptiveCache<number>({ bytesMax: 1024 * c }); const s = 1024 - ENTRY_OVERHEAD_BYTES
    const a = process.hrtime.bigint(); for (const k of t) { const name = names[k]!; if (cache.get(name) === undefined) cache.set(name, 1, s) } return Number(process.hrtime.bigint() - a) / t.length }
  const lru = () => { const cache = new LRUCache<string, number>({ maxSize: 1024 * c, max: c })
    const a = process.hrtime.bigint(); for (const k of t) { const name = names[k]!; if (cache.get(name) === undefined) cache.set(name, 1, {size: 1024}) } return Number(process.hrtime.bigint() - a) / t.length }
  const lru2 = () => { const cache = new LRUCache<string, number>({ max: c })
    const a = process.hrtime.bigint(); for (const k of t) { const name = names[k]!; if (cache.get(name) === undefined) cache.set(name, 1) } return Number(process.hrtime.bigint() - a) / t.length }
  for (let i = 0; i < 6; i++) { const o = ours(), l = lru(), l2 = lru2(); console.log(n, pct, o.toFixed(0), l.toFixed(0), l2.toFixed(0), (o/l).toFixed(2), (o/l2).toFixed(2)) }
}
