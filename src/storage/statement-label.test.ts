import { expect, test } from 'vitest'
import { StatementLabels, statementLabel } from './statement-label.ts'

test.each([
  ['select * from api_keys where id = $1', 'select api_keys'],
  ['\n  insert into usage_hourly (a) values ($1)', 'insert usage_hourly'],
  ['UPDATE only sessions set x = 1', 'update sessions'],
  ['delete from spend_reservations where true', 'delete spend_reservations'],
  [
    'with a as (select 1), b as (insert into spend_daily select * from a) select * from b',
    'insert spend_daily',
  ],
  ['with a as (select * from projects) select * from a', 'select projects'],
  [
    'select coalesce((select sum(x) from spend_daily), 0) from rows from (json_to_recordset($1))',
    'select spend_daily',
  ],
  ['select pg_advisory_xact_lock($1)', 'select'],
  ['select 1 from unnest($1::text[]) as given join keys on true', 'select'],
  ['select * from keys for update', 'select keys'],
  ['commit', 'commit'],
  ['create table if not exists usage_records_2027_01 (a int)', 'create'],
  ['', 'other'],
])('%s is called %s', (sql, label) => {
  expect(statementLabel(sql)).toBe(label)
})

test('whoever a transaction is for, its beginning has one label', () => {
  const labels = new StatementLabels()
  const begin = (organisation: string) => `begin isolation level x; set local a = '${organisation}'`
  expect(new Set(['org_1', 'org_2'].map((one) => labels.of(begin(one))))).toEqual(new Set(['begin']))
})

test('of ten thousand tables there are a hundred labels and one for the others', () => {
  const labels = new StatementLabels()
  const found = Array.from({ length: 10_000 }, (_, n) => labels.of(`select * from table_${n}`))
  expect(new Set(found).size).toBe(101)
  expect(found.at(-1)).toBe('other')
  expect(labels.of('select * from table_5')).toBe('select table_5')
})
