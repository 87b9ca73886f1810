import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { BackupPlace } from './backup-place.ts'

let place: BackupPlace | undefined
afterEach(async () => {
  if (process.env['KEEP']) await place?.stop()
  else await place?.remove()
  place = undefined
})

test('everything is as it was at any moment after a backup: the rows of a deleted table, to the last one', async () => {
  place = await BackupPlace.make()
  await place.session.query('create table drill (id integer primary key, text text not null)')
  await place.session.query('insert into drill select n, md5(n::text) from generate_series(1, 20000) n')
  const id = await place.create()
  await place.session.query('insert into drill select n, md5(n::text) from generate_series(20001, 25000) n')
  const expected = await place.digest()
  await sleep(5)
  const moment = Math.ceil(await place.nowMs())
  await sleep(5)
  await place.session.query('delete from drill')
  await place.stop()

  const report = await place.restore(id, moment)
  expect(report.lastTransactionAtMs).toBeLessThanOrEqual(moment)
  await place.start()
  expect(await place.digest()).toEqual(expected)
  expect(expected.tables).toMatchObject([{ name: 'public.drill', rows: '25000' }])
})
