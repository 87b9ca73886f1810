-- The steps of src/limits/{token-bucket,sliding-window,fixed-window,gauge,budget}.ts, number by number: one suite runs
-- both on the same arrivals. All keys of a call are in one slot.
local LOG_ENTRIES_MAX = 4096
local GATHERED_MAX = 600
local WALK = 64
-- What is held is kept until it is given back or taken back, which is when its tenant asks again: 40 days from the last
-- time, after which nobody can be in it.
local HELD_LIFE = 3456000000
-- What a counter lives longer than it is of use.
local SPARE_LIFE = 1000

local format, match, sub = string.format, string.match, string.sub
local pack, unpack_numbers = struct.pack, struct.unpack
local call = redis.call

local function text(number)
  return format('%d', number)
end

-- As math has them, without the price of a call into it.
local function ceil(number)
  local rest = number % 1
  return rest == 0 and number or number - rest + 1
end

local function max(one, other)
  return one > other and one or other
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

-- To set a life costs more than all else of a decision. It is therefore set to more than is needed, kept beside the
-- numbers, and renewed when less is left than is needed.
local function write(c, now, needed, spare, first, second)
  if keeps then
    call('SET', c.key, pack('<ddd', 0, first, second), 'KEEPTTL')
  elseif now + needed <= c.ends then
    call('SET', c.key, pack('<ddd', c.ends, first, second), 'KEEPTTL')
  else
    c.ends = ceil(now + needed + spare)
    call('SET', c.key, pack('<ddd', c.ends, first, second), 'PXAT', c.ends)
  end
end

-- Until when it lives, and its two numbers; nothing where there is none.
local function numbers_of(value)
  if not value then return 0 end
  return unpack_numbers('<ddd', value)
end

-- A counter `c` is what was read of it, `t` the terms that it is held to. `load` makes it from its string; `write` puts
-- it back, at the end of a call and once however much was decided about it. `c.left` is what could be taken now, after
-- every step.
local counters = {}

-- By the numbers that src/limits/script-call.ts calls them.
local TOKEN_BUCKET, FIXED_WINDOW, SLIDING_WINDOW, GAUGE, BUDGET = 1, 2, 3, 4, 5

counters[TOKEN_BUCKET] = {
  load = function(key, value)
    local ends, level, at = 0, nil, nil
    if value then ends, level, at = unpack_numbers('<ddd', value) end
    return { key = key, terms = false, dirty = false, left = 0, ends = ends, level = level, at = at }
  end,
  advance = function(c, t, now)
    local level, capacity = c.level, t.capacity
    if not level then
      level, c.at = capacity, now
    elseif now > c.at then
      level = level + t.limit * (now - c.at)
      if level > capacity then level = capacity end
      c.at = now
    end
    c.level = level
    local left = level / t.window
    c.left = left - left % 1
  end,
  wait = function(c, t, cost)
    if cost > t.burst then return -1 end
    return max(0, ceil((cost * t.window - c.level) / t.limit))
  end,
  reset = function(c, t) return ceil((t.capacity - c.level) / t.limit) end,
  take = function(c, t, cost)
    local level = c.level - cost * t.window
    local left = level / t.window
    c.level, c.left = level, left - left % 1
    return c.at, ''
  end,
  adjust = function(c, t, _, _, by)
    local level = c.level - by * t.window
    if level > t.capacity then level = t.capacity end
    local left = level / t.window
    c.level, c.left = level, left - left % 1
  end,
  write = function(c, t, now)
    -- Full again by then: as good as new.
    write(c, now, (t.capacity - c.level) / t.limit + SPARE_LIFE, t.refill, c.level, c.at)
  end,
}

-- Steps of those that only add up.
local function take_used(c, t, cost)
  c.used = c.used + cost
  c.left = t.limit - c.used
  return 0, ''
end

local function adjust_used(c, t, _, _, by)
  c.used = c.used + by
  c.left = t.limit - c.used
end

counters[FIXED_WINDOW] = {
  load = function(key, value)
    local ends, start, used = numbers_of(value)
    return { key = key, terms = false, dirty = false, left = 0, ends = ends, start = start, used = used }
  end,
  advance = function(c, t, now)
    local current = now - now % t.window
    if not c.start or current > c.start then c.start, c.used = current, 0 end
    c.left = t.limit - c.used
  end,
  wait = function(c, t, cost, now)
    if cost > t.limit then return -1 end
    if c.used + cost <= t.limit then return 0 end
    return c.start + t.window - now
  end,
  reset = function(c, t, now) return c.used > 0 and c.start + t.window - now or 0 end,
  take = function(c, t, cost)
    take_used(c, t, cost)
    return c.start, ''
  end,
  adjust = function(c, t, at, name, by)
    if at == c.start then adjust_used(c, t, at, name, by) end
  end,
  write = function(c, t, now) write(c, now, c.start + t.window - now + SPARE_LIFE, 0, c.start, c.used) end,
}

local function cost_of(member)
  return tonumber(match(member, '|(-?%d+)$'))
end

-- The new one first: a log that is empty for a moment loses its life.
local function replace(log, score, old, new)
  if old == new then return end
  call('ZADD', log, score, new)
  call('ZREM', log, old)
end

local function piece_of(t)
  return max(1, ceil(t.window / GATHERED_MAX))
end

counters[SLIDING_WINDOW] = {
  load = function(key, value)
    local ends, used = numbers_of(value)
    return { key = key, terms = false, dirty = false, left = 0, ends = ends, used = used or 0, log = key .. ':log', over = 0 }
  end,
  advance = function(c, t, now)
    local start = now - t.window
    if c.start ~= start then
      -- They go when the sum without them is written: a server without memory refuses that, and then nothing has changed.
      local over = call('ZRANGEBYSCORE', c.log, '-inf', text(start))
      for place = c.over + 1, #over do c.used = c.used - cost_of(over[place]) end
      if #over > c.over then c.over, c.cut, c.stale = #over, text(start), true end
      c.start, c.count = start, call('ZCARD', c.log) - c.over
    end
    c.full = c.count >= LOG_ENTRIES_MAX
    c.left = t.limit - c.used
  end,
  wait = function(c, t, cost, now)
    if cost > t.limit then return -1 end
    local missing = c.used + cost - t.limit
    if missing <= 0 then return 0 end
    local from = c.over
    while true do
      local part = call('ZRANGE', c.log, from, from + WALK - 1, 'WITHSCORES')
      if #part == 0 then return t.window end
      for at = 1, #part, 2 do
        missing = missing - cost_of(part[at])
        if missing <= 0 then return tonumber(part[at + 1]) + t.window - now end
      end
      from = from + WALK
    end
  end,
  reset = function(c, t, now)
    if c.count == 0 then return 0 end
    if not c.newest then c.newest = tonumber(call('ZRANGE', c.log, -1, -1, 'WITHSCORES')[2]) end
    return c.newest + t.window - now
  end,
  take = function(c, t, cost, now, name)
    take_used(c, t, cost)
    local newest = c.count > 0 and call('ZRANGE', c.log, -1, -1, 'WITHSCORES') or {}
    local newest_at = tonumber(newest[2])
    if c.full then
      local piece = piece_of(t)
      c.newest = max(newest_at or 0, ceil(now / piece) * piece)
      name = '~' .. text(c.newest)
      if sub(newest[1], 1, #name + 1) == name .. '|' then
        replace(c.log, text(c.newest), newest[1], name .. '|' .. text(cost_of(newest[1]) + cost))
        return c.newest, name
      end
    else
      c.newest = max(newest_at or now, now)
    end
    call('ZADD', c.log, text(c.newest), name .. '|' .. text(cost))
    -- One that is new has no life yet.
    if c.count + c.over == 0 then c.ends = 0 end
    c.count = c.count + 1
    return c.newest, name
  end,
  adjust = function(c, t, at, name, by)
    -- Entries of one moment are few. One that was gathered lies at the end of its piece.
    local entry
    for _, member in ipairs(call('ZRANGEBYSCORE', c.log, text(max(at, c.start + 1)), text(at + piece_of(t)))) do
      if sub(member, 1, #name + 1) == name .. '|' then entry = member end
      if not entry and sub(member, 1, 1) == '~' then entry = member end
    end
    if not entry then return end
    local score = call('ZSCORE', c.log, entry)
    replace(c.log, score, entry, match(entry, '^(.*)|') .. '|' .. text(cost_of(entry) + by))
    adjust_used(c, t, at, name, by)
  end,
  write = function(c, t, now)
    local needed = t.window + piece_of(t) + SPARE_LIFE
    local ended = c.ends
    write(c, now, needed, t.window, c.used, 0)
    if c.ends ~= ended then call('PEXPIRE', c.log, needed + t.window) end
    if c.over > 0 then call('ZREMRANGEBYSCORE', c.log, '-inf', c.cut) end
  end,
}

counters[GAUGE] = {
  load = function(key, value)
    local ends, used = numbers_of(value)
    return { key = key, terms = false, dirty = false, left = 0, ends = ends, used = used or 0 }
  end,
  advance = function(c, t) c.left = t.limit - c.used end,
  wait = function(c, t, cost)
    if cost > t.limit then return -1 end
    return c.used + cost <= t.limit and 0 or 1000
  end,
  reset = function(c) return c.used > 0 and 1000 or 0 end,
  take = take_used,
  adjust = adjust_used,
  write = function(c, _, now)
    if c.used == 0 then call('DEL', c.key) else write(c, now, HELD_LIFE, HELD_LIFE, c.used, 0) end
  end,
}

counters[BUDGET] = {
  load = function(key, value)
    local _, used = numbers_of(value)
    return { key = key, terms = false, dirty = false, left = 0, used = used or 0, unseeded = not used }
  end,
  advance = function(c, t) c.left = t.limit - c.used end,
  wait = function(c, t, cost) return c.used + cost <= t.limit and 0 or -1 end,
  reset = function() return 0 end,
  take = take_used,
  adjust = adjust_used,
  -- Its life was set when it was seeded. One that is not there stays so: what is charged now is in what it is seeded with.
  write = function(c)
    if not c.unseeded then call('SET', c.key, pack('<ddd', 0, c.used, 0), 'KEEPTTL') end
  end,
}

local function terms_of(kind, limit, window, burst)
  local capacity = burst * window
  return {
    kind = kind,
    steps = counters[kind],
    limit = limit,
    window = window,
    burst = burst,
    capacity = capacity,
    refill = capacity / limit,
  }
end

-- What is kept of a reservation, so that anybody can take it back.
local KIND, KEY, LIMIT, WINDOW, BURST, COST, AT, NAME = 1, 2, 3, 4, 5, 6, 7, 8
