import { test } from 'vitest'
import { fillAndCompare } from '../support/full-disk.ts'
import { noSmallDisk } from '../support/small-disk.ts'

test.skipIf(noSmallDisk !== undefined)(
  'a database whose disk is full again and again says so, serves who is known, and loses, doubles and damages nothing',
  () => fillAndCompare(6),
)
