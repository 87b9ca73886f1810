-- KEYS: the reservation, the tenant's open reservations by their end, then a counter for each charge.
-- ARGV: mode (reserve, renew or peek), name, time or '', life of a reservation or 0 where none is held, then for each
-- charge: kind, limit, window, burst, cost.
-- Returns: place that refuses or -1, wait or -1 for ever, whether a log was full, then for each charge what remains
-- (nil: a budget of which nothing is known) and when it is reset.
local SWEEP_MAX = 16
local MARK_LIFE = '60000'

local mode, name, life = ARGV[1], ARGV[2], tonumber(ARGV[4])
local now = clock(ARGV[3])

-- Reservations that nobody renewed are taken back whole.
if life > 0 then
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now), 'LIMIT', 0, SWEEP_MAX)) do
    local record = redis.call('GET', key)
    if record and record ~= '' then correct(cmsgpack.unpack(record), now, function() return 0 end) end
    redis.call('DEL', key)
    redis.call('ZREM', KEYS[2], key)
  end
end

local known = mode ~= 'peek' and redis.call('EXISTS', KEYS[1]) == 1
if mode == 'renew' and known then
  -- One that was settled is not renewed.
  if life > 0 and redis.call('STRLEN', KEYS[1]) > 0 then
    redis.call('PEXPIRE', KEYS[1], text(10 * life))
    redis.call('ZADD', KEYS[2], text(now + life), KEYS[1])
  end
  return { -1, 0, 0 }
end

local charges = {}
local refused, wait, gathered, unseeded = -1, 0, 0, false
for place = 1, #KEYS - 2 do
  local at = 5 * place
  local c = {
    key = KEYS[place + 2],
    kind = ARGV[at],
    limit = tonumber(ARGV[at + 1]),
    window = tonumber(ARGV[at + 2]),
    burst = tonumber(ARGV[at + 3]),
    cost = tonumber(ARGV[at + 4]),
  }
  local counter = counters[c.kind]
  counter.advance(c, now)
  charges[place] = c
  if c.unseeded then
    unseeded = true
  else
    if c.full then gathered = 1 end
    if counter.remaining(c) < c.cost then
      local one = counter.wait(c, c.cost, now)
      if refused == -1 or (wait ~= -1 and (one == -1 or one > wait)) then refused, wait = place - 1, one end
    end
  end
end

if known or mode == 'peek' then refused, wait = -1, 0 end
local taken = mode == 'renew' or (mode == 'reserve' and not known and refused == -1 and not unseeded)
if taken then
  local record = {}
  for place, c in ipairs(charges) do
    local counter = counters[c.kind]
    local at, entry = counter.take(c, c.cost, now, name)
    counter.write(c, now)
    record[place] = { c.kind, c.key, c.limit, c.window, c.burst, c.cost, at, entry }
  end
  -- Also where nothing is held: a reservation that comes twice, or whose answer was lost, is known by this.
  redis.call('SET', KEYS[1], cmsgpack.pack(record), 'PX', life > 0 and text(10 * life) or MARK_LIFE)
  if life > 0 then redis.call('ZADD', KEYS[2], text(now + life), KEYS[1]) end
end

-- A time that was seen was seen, whatever was decided: a clock that is set back after it stands still.
if mode == 'reserve' and not taken and not known then
  for _, c in ipairs(charges) do
    if c.kind == 'token-bucket' or c.kind == 'fixed-window' then counters[c.kind].write(c, now) end
  end
end

local answer = { refused, wait, gathered }
for place, c in ipairs(charges) do
  local counter = counters[c.kind]
  answer[2 * place + 2] = not c.unseeded and math.max(0, counter.remaining(c))
  answer[2 * place + 3] = counter.reset(c, now)
end
return answer
