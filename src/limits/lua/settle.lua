-- KEYS: the reservation, the tenant's open reservations.
-- ARGV: time or '', how long the name stays taken afterwards or 0, then what each charge really cost.
-- Returns whether it was there.
local now = clock(ARGV[1])
local record = redis.call('GET', KEYS[1])
redis.call('ZREM', KEYS[2], KEYS[1])
local there = record and record ~= ''
if there then
  correct(cmsgpack.unpack(record), now, function(place) return tonumber(ARGV[place + 2]) end)
end
-- Of a reservation whose answer was lost it is not known whether it is still to come: then it must find its name taken.
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
end
return there and 1 or 0
