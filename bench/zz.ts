import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { AdaptiveCache, ENTRY_OVERHEAD_BYTES } from '../src/cache/adaptive-cache.ts'
import { keysOf } from '../test/support/eviction-rivals.ts'
import { zipfTrace, mooncakeTrace } from '../test/support/cache-traces.ts'
const med = (a: number[]) => [...a].sort((x, y) => x - y)[a.length >> 1]!
const cells: any[] = [['zipf0.9', zipfTrace(.9, {keys: 100000, accesses: 400000, seed: 1}), 10], ['zipf1.1', zipfTrace(1.1, {keys: 100000, accesses: 400000, seed: 1}), 20], ['conv', mooncakeTrace('/work/shared/traces/mooncake/conversation_trace.jsonl'), 10]]
for (const [n, t, pct] of cells) {
  const u = keysOf(t), c = Math.round(u*pct/100)
  const names = Array.from({length: u}, (_, i) => hash('sha256', 'k' + i))
  const time = (f: () => void) => { const a = process.cpuUsage(); f(); const { user, system } = process.cpuUsage(a); return (user + system) * 1000 / t.length }
  const ours = () => time(() => { const cache = new AdaptiveCache<number>({ bytesMax: 1024 * c }); const s = 1024 - ENTRY_OVERHEAD_BYTES
    for (const k of t) { const name = names[k]!; if (cache.get(name) === undefined) cache.set(name, 1, s) } })
  const lru = () => time(() => { const cache = new LRUCache<string, number>({ maxSize: 1024 * c, max: c })
    for (const k of t) { const name = names[k]!; if (cache.get(name) === undefined) cache.set(name, 1, {size: 1024}) } })
  const o: number[] = [], l: number[] = []
  for (let i = 0; i < 15; i++) { o.push(ours()); l.push(lru()) }
  console.log(n, 'ours', med(o).toFixed(0), Math.min(...o).toFixed(0), 'lru', med(l).toFixed(0), Math.min(...l).toFixed(0), 'ratio', (med(o)/med(l)).toFixed(2), (Math.min(...o)/Math.min(...l)).toFixed(2))
}
