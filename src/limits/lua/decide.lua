-- KEYS: the mark of this call, then all that its lines name, each once. ARGV: time or '', the terms of its rules, each
-- kind, limit, window and burst, and the lines. A line is a number of MODES, what it says there, how many charges, and for
-- each its terms, its key, its cost and, where it is settled, what it really cost. Terms and keys are said by their place.
-- Returns numbers, each in eight bytes, for each line: whether a log was full; the place that refuses, and the wait or -1
-- for ever, or only -1; and for each charge that is not settled what remains (-1: a budget of which nothing is known) and
-- when it is reset.
local SWEEP_MAX = 16
local MARK_LIFE = 60000
-- A settled name stays taken for a while: it may be settled again by somebody who did not hear the answer, and a
-- reservation whose answer was lost may still be to come.
local TAKEN_LIFE = 120000
local SETTLED = -1
-- A script's stack holds a few thousand.
local UNPACKED_MAX = 1000

local KEYS = KEYS
local now = clock(ARGV[1])
local numbers = cjson.decode(ARGV[3])
local at, line = 1, 0
local answers, answered = {}, 0

local function next_number()
  at = at + 1
  return numbers[at - 1]
end

-- Strings as they are, by the place of their key.
local values = {}

local function read_all()
  if #KEYS <= UNPACKED_MAX then
    values = call('MGET', unpack(KEYS))
    return
  end
  for from = 1, #KEYS, UNPACKED_MAX do
    local to = from + UNPACKED_MAX - 1
    if to > #KEYS then to = #KEYS end
    for place, value in ipairs(call('MGET', unpack(KEYS, from, to))) do values[from + place - 1] = value end
  end
end

-- Counters as they are after what was decided so far, by the place of their key, and those that have to be written.
local loaded, dirty = {}, {}

local function touch(c)
  if c.dirty then return end
  c.dirty = true
  dirty[#dirty + 1] = c
end

local function counter_at(place, t)
  local c = loaded[place]
  if not c then
    c = t.steps.load(KEYS[place], values[place])
    loaded[place] = c
  end
  c.terms = t
  t.steps.advance(c, t, now)
  if c.stale then touch(c) end
  return c
end

-- The places of keys, for those that only a record names; others come behind them.
local places, places_max

local function place_of(key)
  if not places then
    places, places_max = {}, #KEYS
    for place, known in ipairs(KEYS) do places[known] = place end
  end
  local place = places[key]
  if not place then
    places_max = places_max + 1
    place = places_max
    places[key], KEYS[place], values[place] = place, key, call('GET', key)
  end
  return place
end

-- What became of requests that hold nothing, by the place in their call: when they were charged, or that they were
-- settled. One key for all of a call.
local marks = {}

local function mark_at(place)
  local mark = marks[place]
  if not mark then
    local value = values[place]
    mark = { times = value and cmsgpack.unpack(value) or {}, life = 0 }
    marks[place] = mark
  end
  return mark
end

-- Puts `cost(place)` in the place of what a reservation took.
local function correct(record, cost)
  for place, kept in ipairs(record) do
    local by = cost(place) - kept[COST]
    if by ~= 0 then
      local t = terms_of(kept[KIND], kept[LIMIT], kept[WINDOW], kept[BURST])
      local c = counter_at(place_of(kept[KEY]), t)
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
  for _, key in ipairs(call('ZRANGEBYSCORE', KEYS[open], '-inf', text(now), 'LIMIT', 0, SWEEP_MAX)) do
    local place = place_of(key)
    local record = values[place]
    if record and record ~= '' then correct(cmsgpack.unpack(record), function() return 0 end) end
    call('DEL', key)
    call('ZREM', KEYS[open], key)
    values[place] = false
  end
end

-- The charges of the line at hand.
local count = 0
local charges, line_terms, line_keys, costs, real_costs = {}, {}, {}, {}, {}
local terms = {}

local function read_charges()
  count = numbers[at]
  at = at + 1
  for place = 1, count do
    line_terms[place] = terms[numbers[at]]
    line_keys[place] = numbers[at + 1]
    costs[place] = numbers[at + 2]
    at = at + 3
  end
end

local function read_settled()
  count = next_number()
  for place = 1, count do
    line_terms[place] = terms[next_number()]
    line_keys[place] = next_number()
    costs[place] = next_number()
    real_costs[place] = next_number()
  end
end

local function decide()
  local refused, wait, gathered, unseeded = -1, 0, 0, false
  for place = 1, count do
    local t, cost = line_terms[place], costs[place]
    local c = counter_at(line_keys[place], t)
    charges[place] = c
    if c.full then gathered = 1 end
    if c.unseeded then
      unseeded = true
    elseif c.left < cost then
      local one = t.steps.wait(c, t, cost, now)
      if refused == -1 or (wait ~= -1 and (one == -1 or one > wait)) then refused, wait = place - 1, one end
    end
  end
  return refused, wait, gathered, unseeded
end

-- The name of a request that holds nothing; one that does is named by what follows the tenant's beginning and `r:`.
local function name_of(key, place)
  return KEYS[key] .. '.' .. place
end

local function take(key, place, mark)
  for charge = 1, count do
    local t, c = line_terms[charge], charges[charge]
    t.steps.take(c, t, costs[charge], now, t.kind == SLIDING_WINDOW and name_of(key, place))
    touch(c)
  end
  mark.times[place] = now
  if mark.life < MARK_LIFE then mark.life = MARK_LIFE end
end

local function hold(record, open, life)
  local kept = {}
  for place = 1, count do
    local t, c = line_terms[place], charges[place]
    local taken_at, name = t.steps.take(c, t, costs[place], now, sub(KEYS[record], #KEYS[open] - 1))
    kept[place] = { t.kind, c.key, t.limit, t.window, t.burst, costs[place], taken_at, name }
    touch(c)
  end
  values[record] = cmsgpack.pack(kept)
  call('SET', KEYS[record], values[record], 'PX', HELD_LIFE)
  call('ZADD', KEYS[open], text(now + life), KEYS[record])
end

local function say(refused, wait, gathered)
  answers[answered + 1] = gathered
  answers[answered + 2] = refused
  answered = answered + 2
  if refused ~= -1 then
    answered = answered + 1
    answers[answered] = wait
  end
  for place = 1, count do
    local t, c = line_terms[place], charges[place]
    local left = c.left
    answers[answered + 1] = c.unseeded and -1 or left < 0 and 0 or left
    answers[answered + 2] = t.steps.reset(c, t, now)
    answered = answered + 2
  end
end

-- Of what was settled there is nothing to say.
local function say_settled()
  count = 0
  say(-1, 0, 0)
end

-- A time that was seen was seen, whatever was decided: a clock that is set back after it stands still.
local function keep_time()
  for place = 1, count do
    local kind = line_terms[place].kind
    if kind == TOKEN_BUCKET or kind == FIXED_WINDOW then touch(charges[place]) end
  end
end

local function peek()
  read_charges()
  decide()
  say(-1, 0, 0)
end

local function reserve(key, place)
  read_charges()
  local refused, wait, gathered, unseeded = decide()
  if refused ~= -1 or unseeded then
    keep_time()
  else
    local mark = mark_at(key)
    if not mark.times[place] then take(key, place, mark) end
  end
  say(refused, wait, gathered)
end

local function renew(key, place)
  read_charges()
  decide()
  local mark = mark_at(key)
  if not mark.times[place] then take(key, place, mark) end
  say(-1, 0, 0)
end

local function reserve_held(record, open, life)
  sweep(open)
  read_charges()
  local refused, wait, gathered, unseeded = decide()
  if refused ~= -1 or unseeded then
    keep_time()
  elseif not values[record] then
    hold(record, open, life)
  end
  say(refused, wait, gathered)
end

local function renew_held(record, open, life)
  sweep(open)
  read_charges()
  decide()
  local kept = values[record]
  if not kept then
    hold(record, open, life)
  elseif kept ~= '' then
    -- One that was settled is not renewed.
    call('PEXPIRE', KEYS[record], HELD_LIFE)
    call('ZADD', KEYS[open], text(now + life), KEYS[record])
  end
  say(-1, 0, 0)
end

local function real_cost(place)
  return real_costs[place]
end

local function settle(key, place)
  read_settled()
  local mark = mark_at(key)
  local time = mark.times[place]
  mark.times[place], mark.life = SETTLED, TAKEN_LIFE
  if not time or time == SETTLED then return say_settled() end
  -- Nothing was held: all that is kept is when it was.
  local kept = {}
  for charge = 1, count do
    local t = line_terms[charge]
    local start = t.kind == FIXED_WINDOW and time - time % t.window or time
    local name = name_of(key, place)
    kept[charge] = { t.kind, KEYS[line_keys[charge]], t.limit, t.window, t.burst, costs[charge], start, name }
  end
  correct(kept, real_cost)
  say_settled()
end

local function settle_held(record, open)
  read_settled()
  local kept = values[record]
  call('ZREM', KEYS[open], KEYS[record])
  values[record] = ''
  call('SET', KEYS[record], '', 'PX', TAKEN_LIFE)
  if not kept or kept == '' then return say_settled() end
  correct(cmsgpack.unpack(kept), real_cost)
  say_settled()
end

-- The commonest line, with the same steps: a request that comes for the first time, with one rule.
local function reserve_one(t, key, cost)
  local c = counter_at(key, t)
  local steps = t.steps
  local refused, wait = -1, 0
  if c.unseeded or c.left < cost then
    if not c.unseeded then refused, wait = 0, steps.wait(c, t, cost, now) end
    if not c.dirty and (t.kind == TOKEN_BUCKET or t.kind == FIXED_WINDOW) then touch(c) end
  else
    local mark = marks[1] or mark_at(1)
    if not mark.times[line] then
      steps.take(c, t, cost, now, t.kind == SLIDING_WINDOW and name_of(1, line))
      mark.times[line] = now
      if mark.life < MARK_LIFE then mark.life = MARK_LIFE end
      if not c.dirty then touch(c) end
    end
  end
  local left, next = c.left, answered + 2
  answers[next - 1] = c.full and 1 or 0
  answers[next] = refused
  if refused ~= -1 then
    next = next + 1
    answers[next] = wait
  end
  answers[next + 1] = c.unseeded and -1 or left < 0 and 0 or left
  answers[next + 2] = steps.reset(c, t, now)
  answered = next + 2
end

local MODES = {
  peek,
  -- For the first time: its mark is this call's, its place there the line's.
  function() reserve(1, line) end,
  -- Key and place of its mark, as for the next two.
  reserve,
  renew,
  settle,
  -- Its record, the tenant's open reservations, and its life, as for the next.
  reserve_held,
  renew_held,
  -- Its record and the tenant's open reservations.
  settle_held,
}
local RESERVE = 2
local WORDS = { 0, 0, 2, 2, 2, 3, 3, 2 }

local function run()
  local mode = numbers[at]
  line = line + 1
  if mode == RESERVE and numbers[at + 1] == 1 then
    reserve_one(terms[numbers[at + 2]], numbers[at + 3], numbers[at + 4])
    at = at + 5
    return
  end
  local first, second, third = numbers[at + 1], numbers[at + 2], numbers[at + 3]
  at = at + 1 + WORDS[mode]
  MODES[mode](first, second, third)
end

local function write_all()
  for _, c in ipairs(dirty) do c.terms.steps.write(c, c.terms, now) end
  for place, mark in pairs(marks) do
    if mark.life > 0 then call('SET', KEYS[place], cmsgpack.pack(mark.times), 'PX', mark.life) end
  end
end

local function packed_answers()
  local parts = {}
  for from = 1, answered, UNPACKED_MAX do
    local to = from + UNPACKED_MAX - 1
    if to > answered then to = answered end
    parts[#parts + 1] = pack('<' .. string.rep('d', to - from + 1), unpack(answers, from, to))
  end
  return table.concat(parts)
end

local given = cjson.decode(ARGV[2])
for from = 1, #given, 4 do
  terms[#terms + 1] = terms_of(given[from], given[from + 1], given[from + 2], given[from + 3])
end
read_all()
local length = #numbers
while at <= length do run() end
write_all()
return packed_answers()
