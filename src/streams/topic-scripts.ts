import type { RedisClient } from '../redis/connection.ts'

/**
 * Publishes once. A log without its state is of another life: a server that is short of memory lets keys go one by one.
 * KEYS: state, log, what the key stands for. ARGV: data, kind, an epoch where there is none, whether there is a key, its
 * life, events kept, life of the topic, how to publish, channel.
 */
const PUBLISH = `
if ARGV[4] == '1' then
  local known = redis.call('GET', KEYS[3])
  if known then return tonumber(known) end
end
if redis.call('HSETNX', KEYS[1], 'epoch', ARGV[3]) == 1 then redis.call('DEL', KEYS[2]) end
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('HSET', KEYS[1], 'kind', ARGV[2])
local number = string.format('%d', seq)
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[6], number .. '-1', 'd', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
if ARGV[4] == '1' then redis.call('SET', KEYS[3], number, 'PX', ARGV[5]) end
redis.call(ARGV[8], ARGV[9], epoch .. ' ' .. number .. ' ' .. ARGV[2] .. ' ' .. ARGV[1])
return seq`

/**
 * What is kept after a number of an epoch, or everything of another one. Where somebody has heard more than is kept, it was lost: what comes now has another epoch.
 * KEYS: state, log. ARGV: after, an epoch where there is none, life of the topic, epoch and number that were heard.
 */
const READ = `
if redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2]) == 1 then redis.call('DEL', KEYS[2]) end
local known = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'kind')
local seq = tonumber(known[2] or '0')
if known[1] == ARGV[4] and seq < tonumber(ARGV[5]) then
  known[1] = ARGV[2]
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local after = known[1] == ARGV[4] and tonumber(ARGV[1]) or 0
return { known[1], seq, known[3] or '', redis.call('XRANGE', KEYS[2], string.format('%d-0', after + 1), '+') }`

/** KEYS: followers by gateway. ARGV: gateway, how many there, lease. */
const ATTEND = `
local time = redis.call('TIME')
if tonumber(ARGV[2]) == 0 then return redis.call('HDEL', KEYS[1], ARGV[1]) end
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %d', ARGV[2], ends))
return redis.call('PEXPIRE', KEYS[1], 2 * ARGV[3])`

/** KEYS: followers by gateway. */
const PRESENCE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all, sum = redis.call('HGETALL', KEYS[1]), 0
for at = 1, #all, 2 do
  local count, ends = string.match(all[at + 1], '(%d+) (%d+)')
  if tonumber(ends) > now then sum = sum + count else redis.call('HDEL', KEYS[1], all[at]) end
end
return sum`

type Text = string | number
export type TopicAnswer = [
  epoch: string,
  seq: number,
  kind: string,
  entries: [id: string, fields: string[]][],
]

export interface TopicScripts {
  hfTopicPublish(state: string, log: string, key: string, ...words: Text[]): Promise<number>
  hfTopicRead(state: string, log: string, ...words: Text[]): Promise<TopicAnswer>
  hfTopicAttend(followers: string, gateway: string, count: number, leaseMs: number): Promise<number>
  hfTopicPresence(followers: string): Promise<number>
}

export function defineTopicScripts(client: RedisClient): TopicScripts {
  client.defineCommand('hfTopicPublish', { lua: PUBLISH, numberOfKeys: 3 })
  client.defineCommand('hfTopicRead', { lua: READ, numberOfKeys: 2 })
  client.defineCommand('hfTopicAttend', { lua: ATTEND, numberOfKeys: 1 })
  client.defineCommand('hfTopicPresence', { lua: PRESENCE, numberOfKeys: 1 })
  // The client's types do not know what was just defined.
  return client as unknown as TopicScripts
}
