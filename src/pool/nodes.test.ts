import { describe, expect, test } from 'vitest'
import { HandNode } from '../../test/support/hand-node.ts'
import { ManualClock } from '../core/clock.ts'
import { silentLog } from '../core/log.ts'
import type { NodeChange } from './node-directory.ts'
import { Nodes } from './nodes.ts'

class ClosableHandNode extends HandNode {
  closed = false

  async close(): Promise<void> {
    this.closed = true
  }
}

function registry() {
  const clock = new ManualClock()
  const clients: ClosableHandNode[] = []
  const connect = ({ nodeId }: { nodeId: string }) => {
    const client = new ClosableHandNode(nodeId)
    clients.push(client)
    return client
  }
  const nodes = new Nodes({ connect, clock, log: silentLog })
  const changes: NodeChange[] = []
  nodes.watch((change) => changes.push(change))
  const report = (nodeId: string, incarnation = 'first', rpcUrl = `https://${nodeId}:1`) =>
    nodes.report({ nodeId, incarnation, rpcUrl })
  return { clock, clients, nodes, changes, report }
}

describe('the directory of nodes', () => {
  test('knows a node for as long as it is heard', () => {
    const { clock, nodes, changes, report } = registry()
    for (let second = 0; second < 10; second++) {
      report('a')
      clock.advance(2_900)
    }
    expect(nodes.get('a')?.nodeId).toBe('a')
    expect(changes).toEqual([{ kind: 'joined', nodeId: 'a' }])
    expect(nodes.list()).toEqual([{ id: 'a', rpcUrl: 'https://a:1', joinedAtMs: 0, silentMs: 2_900 }])
  })

  test('loses a node after three seconds of silence, and asks nothing more of it', () => {
    const { clock, clients, nodes, changes, report } = registry()
    report('a')
    report('b')
    clock.advance(2_999)
    report('b')
    clock.advance(1)
    expect(changes.at(-1)).toEqual({ kind: 'lost', nodeId: 'a' })
    expect(clients.map(({ closed }) => closed)).toEqual([true, false])
    expect(nodes.all().map(({ nodeId }) => nodeId)).toEqual(['b'])
  })

  test('takes one that comes back for a new one', () => {
    const { clock, clients, changes, report } = registry()
    report('a')
    clock.advance(3_000)
    report('a')
    expect(changes.map(({ kind }) => kind)).toEqual(['joined', 'lost', 'joined'])
    expect(clients).toHaveLength(2)
  })

  test('knows one that was started anew before anybody missed it', () => {
    const { clients, changes, report } = registry()
    report('a')
    report('a', 'second')
    expect(changes.map(({ kind }) => kind)).toEqual(['joined', 'lost', 'joined'])
    expect(clients.map(({ closed }) => closed)).toEqual([true, false])
  })

  test('refuses a second machine of the same name while the first is there', () => {
    const { clock, changes, report } = registry()
    report('a')
    expect(() => report('a', 'other', 'https://elsewhere:1')).toThrow("Another node is called 'a'")
    clock.advance(3_000)
    report('a', 'other', 'https://elsewhere:1')
    expect(changes.map(({ kind }) => kind)).toEqual(['joined', 'lost', 'joined'])
  })

  test('lets one go that says so, at once, and not one that has come again since', () => {
    const { nodes, changes, report } = registry()
    report('a', 'second')
    nodes.leave('a', 'first')
    expect(nodes.all()).toHaveLength(1)
    nodes.leave('a', 'second')
    expect(changes.at(-1)).toEqual({ kind: 'lost', nodeId: 'a' })
  })

  test('leaves all to the next leader without a word', async () => {
    const { clients, nodes, changes, report } = registry()
    report('a')
    await nodes.stop()
    expect(clients[0]?.closed).toBe(true)
    expect(changes).toEqual([{ kind: 'joined', nodeId: 'a' }])
  })
})
