import { expect, test } from 'vitest'
import { EventQueue } from './event-queue.ts'
import { HelixFlowError } from './helix-flow-error.ts'

const queueOf = () => new EventQueue<number>({ items: 4, size: 100 })

test('gives in the order in which it got, to a reader that waits and to one that comes later', async () => {
  const queue = queueOf()
  const first = queue.take()
  for (const value of [1, 2, 3]) queue.push(value, 1)
  expect([await first, await queue.take(), await queue.take()]).toEqual([1, 2, 3])
})

test('is full by number and by size, and roomy again at half of both', () => {
  const queue = queueOf()
  for (const value of [1, 2, 3, 4]) queue.push(value, 1)
  expect([queue.isFull, queue.isRoomy]).toEqual([true, false])
  queue.shift()
  expect([queue.isFull, queue.isRoomy]).toEqual([false, false])
  queue.shift()
  expect(queue.isRoomy).toBe(true)
  queue.push(5, 100)
  expect([queue.isFull, queue.isRoomy]).toEqual([true, false])
})

test('what was in it before the end can be taken after the end, then the error comes, each time', async () => {
  const queue = queueOf()
  queue.push(1, 1)
  queue.end(new HelixFlowError('closed', 'closed'))
  queue.push(2, 1)
  queue.end()
  expect(await queue.take()).toBe(1)
  await expect(queue.take()).rejects.toMatchObject({ code: 'closed' })
  await expect(queue.take()).rejects.toMatchObject({ code: 'closed' })
})

test('ends a reader that waits', async () => {
  const queue = queueOf()
  const waiting = queue.take()
  queue.end()
  expect(await waiting).toBeUndefined()
})

test('a second reader at the same time is refused', async () => {
  const queue = queueOf()
  const first = queue.take()
  await expect(queue.take()).rejects.toMatchObject({ code: 'consumed' })
  queue.push(1, 1)
  expect(await first).toBe(1)
})

test('holds as many as were put in and not taken, over many rounds', async () => {
  const queue = new EventQueue<number>({ items: 10_000, size: 1e9 })
  for (let value = 0; value < 5_000; value++) queue.push(value, 1)
  for (let value = 0; value < 4_000; value++) expect(await queue.take()).toBe(value)
  expect(queue.length).toBe(1_000)
  queue.push(5_000, 1)
  for (let value = 4_000; value <= 5_000; value++) expect(queue.shift()).toBe(value)
  expect(queue.shift()).toBeUndefined()
})
