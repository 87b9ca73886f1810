-- KEYS: the mark of this call, then what its lines name, in their order. ARGV: time or '', the terms of its rules, each
-- kind, limit, window and burst, and the lines. A line is a number of MODES, with what it says below, and for each charge
-- its terms, its cost and, where it is settled, what it really cost; its key is the next of KEYS.
-- Returns for each line: of a settlement 1 if there was something to settle; else the place that refuses or -1, the wait
-- or -1 for ever, whether a log was full, and for each charge what remains (-1: a budget of which nothing is known) and
-- when it is reset.
local SWEEP_MAX = 16
local MARK_LIFE = 60000
-- A settled name stays taken for a while: it may be settled again by somebody who did not hear the answer, and a
-- reservation whose answer was lost may still be to come.
local TAKEN_LIFE = 120000
local SETTLED = -1
-- Of KEYS that are read with one command; a script's stack holds a few thousand.
local READ_MAX = 1000

local now = clock(ARGV[1])
local terms, numbers = {}, cjson.decode(ARGV[3])
local at, key_at = 1, 2
local answers, answered = {}, 0

local function next_number()
  at = at + 1
  return numbers[at - 1]
end

local function next_key()
  key_at = key_at + 1
  return KEYS[key_at - 1]
end

-- Counters as they are after what was decided so far, and those that have to be written.
local states, dirty = {}, {}

local function touch(c)
  if c.dirty then return end
  c.dirty = true
  dirty[#dirty + 1] = c
end

local function counter_of(key, t)
  local c = states[key]
  if not c then
    c = t.steps.load(key, read(key))
    c.key = key
    states[key] = c
  end
  c.terms = t
  t.steps.advance(c, t, now)
  if c.stale then touch(c) end
  return c
end

-- What became of requests that hold nothing, by the call that they came in and their place in it: one key for all of a
-- call. When one was charged, or that it was settled.
local marks = {}

local function mark_of(key)
  local mark = marks[key]
  if not mark then
    local value = read(key)
    mark = { times = value and cmsgpack.unpack(value) or {}, life = 0 }
    marks[key] = mark
  end
  return mark
end

local function set_mark(mark, place, time)
  mark.times[place] = time
  mark.life = max(mark.life, time == SETTLED and TAKEN_LIFE or MARK_LIFE)
end

-- Puts `cost(place)` in the place of what a reservation took.
local function correct(record, cost)
  for place, kept in ipairs(record) do
    local by = cost(place) - kept[COST]
    if by ~= 0 then
      local t = terms_of(kept[KIND], kept[LIMIT], kept[WINDOW], kept[BURST])
      local c = counter_of(kept[KEY], t)
      t.steps.adjust(c, t, kept[AT], kept[NAME], by)
      touch(c)
    end
  end
end

-- Reservations that nobody renewed are taken back whole, once in a call.
local swept = {}

local function sweep(open)
  if swept[open] then return end
  swept[open] = true
  for _, key in ipairs(call('ZRANGEBYSCORE', open, '-inf', text(now), 'LIMIT', 0, SWEEP_MAX)) do
    local record = read(key)
    if record and record ~= '' then correct(cmsgpack.unpack(record), function() return 0 end) end
    call('DEL', key)
    found[key] = false
    call('ZREM', open, key)
  end
end

-- The charges of the line at hand.
local charges, line_terms, line_keys, costs, real_costs = {}, {}, {}, {}, {}
local count = 0

local function read_charges(is_settled)
  count = numbers[at]
  at = at + 1
  for place = 1, count do
    line_terms[place] = terms[numbers[at]]
    costs[place] = numbers[at + 1]
    line_keys[place] = KEYS[key_at]
    key_at = key_at + 1
    at = at + 2
    if is_settled then real_costs[place] = next_number() end
  end
end

local function decide()
  local refused, wait, gathered, unseeded = -1, 0, 0, false
  for place = 1, count do
    local t = line_terms[place]
    local c = counter_of(line_keys[place], t)
    charges[place] = c
    if c.unseeded then
      unseeded = true
    else
      if c.full then gathered = 1 end
      if t.steps.remaining(c, t) < costs[place] then
        local one = t.steps.wait(c, t, costs[place], now)
        if refused == -1 or (wait ~= -1 and (one == -1 or one > wait)) then refused, wait = place - 1, one end
      end
    end
  end
  return refused, wait, gathered, unseeded
end

local function take(name)
  for place = 1, count do
    local t, c = line_terms[place], charges[place]
    t.steps.take(c, t, costs[place], now, name)
    touch(c)
  end
end

local function hold(record, open, life)
  local kept = {}
  for place = 1, count do
    local t, c = line_terms[place], charges[place]
    -- What follows the tenant's beginning and `r:`.
    local taken_at, name = t.steps.take(c, t, costs[place], now, sub(record, #open - 1))
    kept[place] = { t.kind, line_keys[place], t.limit, t.window, t.burst, costs[place], taken_at, name }
    touch(c)
  end
  found[record] = cmsgpack.pack(kept)
  call('SET', record, found[record], 'PX', HELD_LIFE)
  call('ZADD', open, text(now + life), record)
end

local function say(number)
  answered = answered + 1
  answers[answered] = number
end

local function say_standings()
  for place = 1, count do
    local t, c = line_terms[place], charges[place]
    answers[answered + 1] = c.unseeded and -1 or max(0, t.steps.remaining(c, t))
    answers[answered + 2] = t.steps.reset(c, t, now)
    answered = answered + 2
  end
end

local function say_decision(refused, wait, gathered)
  answers[answered + 1] = refused
  answers[answered + 2] = wait
  answers[answered + 3] = gathered
  answered = answered + 3
  say_standings()
end

-- A time that was seen was seen, whatever was decided: a clock that is set back after it stands still.
local function keep_time()
  for place = 1, count do
    local kind = line_terms[place].kind
    if kind == TOKEN_BUCKET or kind == FIXED_WINDOW then touch(charges[place]) end
  end
end

-- The name of a request that holds nothing.
local function name_of(key, place)
  return key .. '.' .. place
end

local function reserve(key, place)
  read_charges(false)
  local refused, wait, gathered, unseeded = decide()
  if refused ~= -1 or unseeded then
    keep_time()
  else
    local mark = mark_of(key)
    if not mark.times[place] then
      take(name_of(key, place))
      set_mark(mark, place, now)
    end
  end
  say_decision(refused, wait, gathered)
end

local function renew(key, place)
  read_charges(false)
  decide()
  local mark = mark_of(key)
  if not mark.times[place] then
    take(name_of(key, place))
    set_mark(mark, place, now)
  end
  say_decision(-1, 0, 0)
end

local function reserve_held(record, open, life)
  sweep(open)
  read_charges(false)
  local refused, wait, gathered, unseeded = decide()
  if refused ~= -1 or unseeded then
    keep_time()
  elseif not read(record) then
    hold(record, open, life)
  end
  say_decision(refused, wait, gathered)
end

local function renew_held(record, open, life)
  sweep(open)
  read_charges(false)
  decide()
  local kept = read(record)
  if not kept then
    hold(record, open, life)
  elseif kept ~= '' then
    -- One that was settled is not renewed.
    call('PEXPIRE', record, HELD_LIFE)
    call('ZADD', open, text(now + life), record)
  end
  say_decision(-1, 0, 0)
end

local function real_cost(place)
  return real_costs[place]
end

local function settle(key, place)
  read_charges(true)
  local mark = mark_of(key)
  local time = mark.times[place]
  set_mark(mark, place, SETTLED)
  if not time or time == SETTLED then return say(0) end
  -- Nothing was held: all that is kept is when it was.
  local kept = {}
  for charge = 1, count do
    local t = line_terms[charge]
    local start = t.kind == FIXED_WINDOW and time - time % t.window or time
    kept[charge] =
      { t.kind, line_keys[charge], t.limit, t.window, t.burst, costs[charge], start, name_of(key, place) }
  end
  correct(kept, real_cost)
  say(1)
end

local function settle_held(record, open)
  read_charges(true)
  local kept = read(record)
  call('ZREM', open, record)
  found[record] = ''
  call('SET', record, '', 'PX', TAKEN_LIFE)
  if not kept or kept == '' then return say(0) end
  correct(cmsgpack.unpack(kept), real_cost)
  say(1)
end

local MODES = {
  -- Asks what is left.
  function()
    read_charges(false)
    decide()
    say_decision(-1, 0, 0)
  end,
  -- Reserves, for the place in this call that it says.
  function() reserve(KEYS[1], next_number()) end,
  -- Of one that came in another call, or in none: the key of its mark and its place there.
  function() reserve(next_key(), next_number()) end,
  function() renew(next_key(), next_number()) end,
  function() settle(next_key(), next_number()) end,
  -- Of one that is held: its record, the tenant's open reservations, and its life.
  function() reserve_held(next_key(), next_key(), next_number()) end,
  function() renew_held(next_key(), next_key(), next_number()) end,
  function() settle_held(next_key(), next_key()) end,
}

local function read_all()
  for from = 1, #KEYS, READ_MAX do
    local to = min(#KEYS, from + READ_MAX - 1)
    local values = call('MGET', unpack(KEYS, from, to))
    for place = from, to do found[KEYS[place]] = values[place - from + 1] end
  end
end

local function write_all()
  for _, c in ipairs(dirty) do c.terms.steps.write(c.key, c, c.terms, now) end
  for key, mark in pairs(marks) do
    if mark.life > 0 then call('SET', key, cmsgpack.pack(mark.times), 'PX', mark.life) end
  end
end

local given = cjson.decode(ARGV[2])
for from = 1, #given, 4 do
  terms[#terms + 1] = terms_of(given[from], given[from + 1], given[from + 2], given[from + 3])
end
read_all()
while at <= #numbers do MODES[next_number()]() end
write_all()
return answers
