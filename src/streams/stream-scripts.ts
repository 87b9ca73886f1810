import type { RedisClient } from '../redis/connection.ts'

/**
 * Appends to any number of streams, each as far as it is this gateway's and nothing is missing before; what is there
 * already is left as it is, so that a call whose answer was lost can be made again. The last event sets the time after
 * which the stream goes. KEYS by stream: head, events, tombstone.
 */
const APPEND = `
local verb, owner, life, keep, grave = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local at, answers = 6, {}
for key = 1, #KEYS, 3 do
  local head, events = KEYS[key], KEYS[key + 1]
  local channel, least, first, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  at = at + 4
  local known = redis.call('HMGET', head, 'owner', 'last', 'cancel', 'lost', 'tenant')
  local last
  if not known[1] or known[4] then
    last = -1
  elseif known[1] ~= owner then
    last = -2
  else
    last = tonumber(known[2])
    local before, final = last, false
    for n = 0, count - 1 do
      if first + n == last + 1 then
        last = first + n
        local id, kind = string.format('%d-1', last), ARGV[at + 2 * n]
        if least == '' then
          redis.call('XADD', events, id, 'k', kind, 'd', ARGV[at + 2 * n + 1])
        else
          redis.call('XADD', events, 'MINID', '~', least, id, 'k', kind, 'd', ARGV[at + 2 * n + 1])
        end
        final = kind == 'end' or kind == 'error'
      end
    end
    if last > before then
      local lasts = final and keep or life
      redis.call('HSET', head, 'last', last)
      if final then
        redis.call('HSET', head, 'ended', 1)
        redis.call('HDEL', head, 'cancel')
        redis.call('SET', KEYS[key + 2], known[5], 'PX', grave)
      end
      redis.call('PEXPIRE', head, lasts)
      redis.call('PEXPIRE', events, lasts)
      redis.call(verb, channel, last)
    end
  end
  answers[#answers + 1] = last
  answers[#answers + 1] = last >= 0 and known[3] or ''
  at = at + 2 * count
end
return answers`

/** KEYS: head. ARGV: owner, tenant, head as JSON, life. */
const CREATE = `
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'tenant', ARGV[2], 'head', ARGV[3], 'earlier', '[]', 'last', 0)
return redis.call('PEXPIRE', KEYS[1], ARGV[4])`

/**
 * What follows a number, and whose the stream is; where that is not the owner that was known, its head too. Notes that
 * somebody reads it. KEYS: head, events, readers. ARGV: after, most events, known owner, reading gateway or nothing,
 * its lease.
 */
const READ = `
local known = redis.call('HMGET', KEYS[1], 'owner', 'last', 'lost')
if not known[1] then return false end
if ARGV[4] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZADD', KEYS[3], now + ARGV[5], ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  redis.call('PEXPIRE', KEYS[3], 2 * ARGV[5])
end
local entries = {}
if tonumber(known[2]) > tonumber(ARGV[1]) then
  entries = redis.call('XRANGE', KEYS[2], string.format('%d-0', ARGV[1] + 1), '+', 'COUNT', ARGV[2])
end
local answer = { known[1], tonumber(known[2]), known[3] and 1 or 0, entries }
if known[1] ~= ARGV[3] then
  local more = redis.call('HMGET', KEYS[1], 'head', 'earlier')
  answer[5], answer[6] = more[1], more[2]
end
return answer`

/** Whether a gateway reads. KEYS: readers. */
const ATTENDED = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZCOUNT', KEYS[1], string.format('(%d', now), '+inf')`

/**
 * Takes a stream over from an owner whose last number is known: one wins. KEYS: head. ARGV: owner, last number, new
 * owner, new head, earlier epochs, life.
 */
const ADOPT = `
local known = redis.call('HMGET', KEYS[1], 'owner', 'last', 'ended', 'lost')
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] or known[3] or known[4] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[3], 'head', ARGV[4], 'earlier', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1`

/**
 * Nobody may go on with what is here. KEYS: head, events. ARGV: owner, how to publish, channel.
 */
const WITHDRAW = `
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'lost', 1)
redis.call('DEL', KEYS[2])
redis.call(ARGV[2], ARGV[3], 0)
return 1`

/** As if it had never been. KEYS: head, events. ARGV: owner. */
const DISCARD = `
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1], KEYS[2])`

/** Leaves word for the owner, who finds it at its next event at the latest. KEYS: head. ARGV: tenant, reason. */
const CANCEL = `
local known = redis.call('HMGET', KEYS[1], 'tenant', 'owner', 'ended', 'lost')
if known[1] ~= ARGV[1] or known[3] or known[4] then return false end
redis.call('HSET', KEYS[1], 'cancel', ARGV[2])
return known[2]`

/** KEYS: the claim. ARGV: id, life. */
const CLAIM = `
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return ARGV[1] end
return redis.call('GET', KEYS[1])`

type Text = string | number
export type StreamAnswer = [
  owner: string,
  last: number,
  lost: number,
  entries: [id: string, fields: string[]][],
  head?: string,
  earlier?: string,
]

export interface StreamScripts {
  hfStreamAppend(keyCount: number, ...words: Text[]): Promise<(number | string)[]>
  hfStreamCreate(head: string, ...words: Text[]): Promise<number>
  hfStreamRead(head: string, events: string, readers: string, ...words: Text[]): Promise<StreamAnswer | null>
  hfStreamAttended(readers: string): Promise<number>
  hfStreamAdopt(head: string, ...words: Text[]): Promise<number>
  hfStreamWithdraw(head: string, events: string, ...words: Text[]): Promise<number>
  hfStreamDiscard(head: string, events: string, owner: string): Promise<number>
  hfStreamCancel(head: string, tenant: string, reason: string): Promise<string | null>
  hfStreamClaim(key: string, id: string, lifeMs: number): Promise<string>
}

export function defineStreamScripts(client: RedisClient): StreamScripts {
  client.defineCommand('hfStreamAppend', { lua: APPEND })
  client.defineCommand('hfStreamCreate', { lua: CREATE, numberOfKeys: 1 })
  client.defineCommand('hfStreamRead', { lua: READ, numberOfKeys: 3 })
  client.defineCommand('hfStreamAttended', { lua: ATTENDED, numberOfKeys: 1 })
  client.defineCommand('hfStreamAdopt', { lua: ADOPT, numberOfKeys: 1 })
  client.defineCommand('hfStreamWithdraw', { lua: WITHDRAW, numberOfKeys: 2 })
  client.defineCommand('hfStreamDiscard', { lua: DISCARD, numberOfKeys: 2 })
  client.defineCommand('hfStreamCancel', { lua: CANCEL, numberOfKeys: 1 })
  client.defineCommand('hfStreamClaim', { lua: CLAIM, numberOfKeys: 1 })
  // The client's types do not know what was just defined.
  return client as unknown as StreamScripts
}
