-- The steps of src/limits/{token-bucket,sliding-window,fixed-window,gauge,budget}.ts, number by number: one suite runs
-- both on the same arrivals. All keys of a tenant are in one slot, so that names may be put together here.
local LOG_ENTRIES_MAX = 4096
local GATHERED_MAX = 600
local WALK = 64
-- What is held is kept until it is given back or taken back, which is when its tenant asks again: 40 days from the last
-- time, after which nobody can be in it.
local HELD_LIFE = '3456000000'

local format = string.format
local call = redis.call

local function text(number)
  return format('%d', number)
end

-- Where the time is given, lives by the server's own clock would end what is not over.
local keeps = false

local function clock(given)
  if given ~= '' then
    keeps = true
    return tonumber(given)
  end
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Two whole numbers in one string: a read and a write cost one command each.
local function read_pair(key)
  local value = call('GET', key)
  if not value then return nil end
  local middle = string.find(value, ':', 1, true)
  return tonumber(string.sub(value, 1, middle - 1)), tonumber(string.sub(value, middle + 1))
end

local function write_pair(key, first, second, life)
  local value = format('%d:%d', first, second)
  if keeps then call('SET', key, value) else call('SET', key, value, 'PX', math.max(1, life)) end
end

local counters = {}

counters['token-bucket'] = {
  advance = function(c, now)
    local capacity = c.burst * c.window
    local level, at = read_pair(c.key)
    if not level then
      level, at = capacity, now
    elseif now > at then
      level = math.min(capacity, level + c.limit * (now - at))
      at = now
    end
    c.level, c.at = level, at
  end,
  remaining = function(c) return math.floor(c.level / c.window) end,
  wait = function(c, cost)
    if cost > c.burst then return -1 end
    return math.max(0, math.ceil((cost * c.window - c.level) / c.limit))
  end,
  reset = function(c) return math.ceil((c.burst * c.window - c.level) / c.limit) end,
  take = function(c, cost)
    c.level = c.level - cost * c.window
    return c.at, ''
  end,
  adjust = function(c, _, _, by) c.level = math.min(c.burst * c.window, c.level - by * c.window) end,
  write = function(c)
    -- Full again by then: as good as new.
    write_pair(c.key, c.level, c.at, math.ceil((c.burst * c.window - c.level) / c.limit) + 1000)
  end,
}

counters['fixed-window'] = {
  advance = function(c, now)
    local start, used = read_pair(c.key)
    local current = now - now % c.window
    if not start or current > start then start, used = current, 0 end
    c.start, c.used = start, used
  end,
  remaining = function(c) return c.limit - c.used end,
  wait = function(c, cost, now)
    if cost > c.limit then return -1 end
    if c.used + cost <= c.limit then return 0 end
    return c.start + c.window - now
  end,
  reset = function(c, now) return c.used > 0 and c.start + c.window - now or 0 end,
  take = function(c, cost)
    c.used = c.used + cost
    return c.start, ''
  end,
  adjust = function(c, at, _, by)
    if at == c.start then c.used = c.used + by end
  end,
  write = function(c, now) write_pair(c.key, c.start, c.used, c.start + c.window - now + 1000) end,
}

local function cost_of(member)
  return tonumber(string.match(member, '|(-?%d+)$'))
end

counters['sliding-window'] = {
  advance = function(c, now)
    c.log = c.key .. ':log'
    c.used = tonumber(call('GET', c.key) or '0')
    local over = call('ZRANGEBYSCORE', c.log, '-inf', text(now - c.window))
    if #over > 0 then
      for _, member in ipairs(over) do c.used = c.used - cost_of(member) end
      call('ZREMRANGEBYSCORE', c.log, '-inf', text(now - c.window))
      -- At once, whatever is decided: the entries are gone.
      call('SET', c.key, text(c.used), 'KEEPTTL')
    end
    c.full = call('ZCARD', c.log) >= LOG_ENTRIES_MAX
  end,
  remaining = function(c) return c.limit - c.used end,
  wait = function(c, cost, now)
    if cost > c.limit then return -1 end
    local missing = c.used + cost - c.limit
    if missing <= 0 then return 0 end
    local from = 0
    while true do
      local part = call('ZRANGE', c.log, from, from + WALK - 1, 'WITHSCORES')
      if #part == 0 then return c.window end
      for at = 1, #part, 2 do
        missing = missing - cost_of(part[at])
        if missing <= 0 then return tonumber(part[at + 1]) + c.window - now end
      end
      from = from + WALK
    end
  end,
  reset = function(c, now)
    local newest = call('ZRANGE', c.log, -1, -1, 'WITHSCORES')
    return newest[2] and tonumber(newest[2]) + c.window - now or 0
  end,
  take = function(c, cost, now, name)
    local newest = call('ZRANGE', c.log, -1, -1, 'WITHSCORES')
    local newest_at = newest[2] and tonumber(newest[2])
    c.used = c.used + cost
    if c.full then
      local piece = math.max(1, math.ceil(c.window / GATHERED_MAX))
      local at = math.max(newest_at or 0, math.ceil(now / piece) * piece)
      name = '~' .. text(at)
      if string.sub(newest[1], 1, #name + 1) == name .. '|' then
        call('ZREM', c.log, newest[1])
        call('ZADD', c.log, text(at), name .. '|' .. text(cost_of(newest[1]) + cost))
      else
        call('ZADD', c.log, text(at), name .. '|' .. text(cost))
      end
      return at, name
    end
    local at = math.max(newest_at or now, now)
    call('ZADD', c.log, text(at), name .. '|' .. text(cost))
    return at, name
  end,
  adjust = function(c, at, name, by)
    -- Entries of one moment are few. One that was gathered lies at the end of its piece.
    local piece = math.max(1, math.ceil(c.window / GATHERED_MAX))
    local found
    for _, member in ipairs(call('ZRANGEBYSCORE', c.log, text(at), text(at + piece))) do
      if string.sub(member, 1, #name + 1) == name .. '|' then found = member end
      if not found and string.sub(member, 1, 1) == '~' then found = member end
    end
    if not found then return end
    local score = call('ZSCORE', c.log, found)
    local entry = string.match(found, '^(.*)|')
    call('ZREM', c.log, found)
    call('ZADD', c.log, score, entry .. '|' .. text(cost_of(found) + by))
    c.used = c.used + by
  end,
  write = function(c)
    if keeps then
      call('SET', c.key, text(c.used))
    else
      local life = text(2 * c.window + 1000)
      call('SET', c.key, text(c.used), 'PX', life)
      call('PEXPIRE', c.log, life)
    end
  end,
}

counters['gauge'] = {
  advance = function(c) c.used = tonumber(call('GET', c.key) or '0') end,
  remaining = function(c) return c.limit - c.used end,
  wait = function(c, cost)
    if cost > c.limit then return -1 end
    return c.used + cost <= c.limit and 0 or 1000
  end,
  reset = function(c) return c.used > 0 and 1000 or 0 end,
  take = function(c, cost)
    c.used = c.used + cost
    return 0, ''
  end,
  adjust = function(c, _, _, by) c.used = c.used + by end,
  write = function(c)
    if c.used == 0 then
      call('DEL', c.key)
    elseif keeps then
      call('SET', c.key, text(c.used))
    else
      call('SET', c.key, text(c.used), 'PX', HELD_LIFE)
    end
  end,
}

counters['budget'] = {
  advance = function(c)
    local used = call('GET', c.key)
    c.used, c.unseeded = tonumber(used or '0'), not used
  end,
  remaining = function(c) return c.limit - c.used end,
  wait = function(c, cost) return c.used + cost <= c.limit and 0 or -1 end,
  reset = function() return 0 end,
  take = function(c, cost)
    c.used = c.used + cost
    return 0, ''
  end,
  adjust = function(c, _, _, by) c.used = c.used + by end,
  -- Its life was set when it was seeded. One that is not there stays so: what is charged now is in what it is seeded with.
  write = function(c)
    if not c.unseeded then call('SET', c.key, text(c.used), 'KEEPTTL') end
  end,
}

-- What is kept of a reservation, so that anybody can take it back.
local KIND, KEY, LIMIT, WINDOW, BURST, COST, AT, NAME = 1, 2, 3, 4, 5, 6, 7, 8

-- Puts `cost(place)` in the place of what a reservation took.
local function correct(record, now, cost)
  for place, kept in ipairs(record) do
    local by = cost(place) - kept[COST]
    if by ~= 0 then
      local counter = counters[kept[KIND]]
      local c = { key = kept[KEY], limit = kept[LIMIT], window = kept[WINDOW], burst = kept[BURST] }
      counter.advance(c, now)
      counter.adjust(c, kept[AT], kept[NAME], by)
      counter.write(c, now)
    end
  end
end

-- Several questions come in one call, each a list: what it is, life of a reservation or 0 where none is held, the tenant's
-- beginning of every key, its name, and for each charge kind, key, limit, window, burst, cost and, when it is settled,
-- what it really cost.
local HEAD = 4

local function read_line(line, words_each)
  local words = cjson.decode(line)
  local base = words[3]
  local asked = {
    mode = words[1],
    life = words[2],
    record = base .. 'r:' .. words[4],
    open = base .. 'open',
    name = words[4],
  }
  local charges = {}
  for at = HEAD + 1, #words, words_each do
    charges[#charges + 1] = {
      kind = words[at],
      key = base .. 'c:' .. words[at + 1],
      limit = words[at + 2],
      window = words[at + 3],
      burst = words[at + 4],
      cost = words[at + 5],
      costs = words[at + 6],
    }
  end
  asked.charges = charges
  return asked
end
