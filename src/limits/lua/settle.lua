-- KEYS: the reservation, the tenant's open reservations.
-- ARGV: time or '', then what each charge really cost.
-- Returns whether it was there. Its name stays taken for a while: it may be settled again by somebody who did not hear
-- the answer, and a reservation whose answer was lost may still be to come.
local TAKEN_LIFE = '120000'

local now = clock(ARGV[1])
local record = redis.call('GET', KEYS[1])
redis.call('ZREM', KEYS[2], KEYS[1])
local there = record and record ~= ''
if there then
  correct(cmsgpack.unpack(record), now, function(place) return tonumber(ARGV[place + 1]) end)
end
redis.call('SET', KEYS[1], '', 'PX', TAKEN_LIFE)
return there and 1 or 0
