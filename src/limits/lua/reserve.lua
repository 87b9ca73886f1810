-- KEYS: one of the slot. ARGV: time or '', then a line for each question: mode is reserve, renew or peek.
-- Returns for each in one string: place that refuses or -1, wait or -1 for ever, whether a log was full, then for each
-- charge what remains (u: a budget of which nothing is known) and when it is reset.
local SWEEP_MAX = 16
local MARK_LIFE = '60000'

-- Reservations that nobody renewed are taken back whole.
local function sweep(open, now)
  for _, key in ipairs(call('ZRANGEBYSCORE', open, '-inf', text(now), 'LIMIT', 0, SWEEP_MAX)) do
    local record = call('GET', key)
    if record and record ~= '' then correct(cmsgpack.unpack(record), now, function() return 0 end) end
    call('DEL', key)
    call('ZREM', open, key)
  end
end

local function decide(charges, now)
  local refused, wait, gathered, unseeded = -1, 0, 0, false
  for place, c in ipairs(charges) do
    local counter = counters[c.kind]
    counter.advance(c, now)
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
  return refused, wait, gathered, unseeded
end

local function take(asked, now)
  local record = {}
  for place, c in ipairs(asked.charges) do
    local counter = counters[c.kind]
    local at, entry = counter.take(c, c.cost, now, asked.name)
    counter.write(c, now)
    if asked.life > 0 then record[place] = { c.kind, c.key, c.limit, c.window, c.burst, c.cost, at, entry } end
  end
  if asked.life == 0 then return end
  call('SET', asked.record, cmsgpack.pack(record), 'PX', HELD_LIFE)
  call('ZADD', asked.open, text(now + asked.life), asked.record)
end

local function renewed(asked, now)
  -- One that was settled, or that nobody holds, is not renewed.
  if asked.life == 0 then return call('EXISTS', asked.record) == 1 end
  local length = call('STRLEN', asked.record)
  if length == 0 then return call('EXISTS', asked.record) == 1 end
  call('PEXPIRE', asked.record, HELD_LIFE)
  call('ZADD', asked.open, text(now + asked.life), asked.record)
  return true
end

local function answer(line, now)
  local asked = read_line(line, 6)
  local mode, charges = asked.mode, asked.charges
  if asked.life > 0 then sweep(asked.open, now) end
  if mode == 'renew' and renewed(asked, now) then return '-1 0 0' end
  local refused, wait, gathered, unseeded = decide(charges, now)
  if mode == 'renew' or (mode == 'reserve' and refused == -1 and not unseeded) then
    -- Also where nothing is held: one that comes twice, or whose answer was lost, is known by this.
    local mark = call('SET', asked.record, now, 'PX', MARK_LIFE, 'NX')
    if mark then take(asked, now) end
  elseif mode == 'reserve' then
    -- A time that was seen was seen, whatever was decided: a clock that is set back after it stands still.
    for _, c in ipairs(charges) do
      if c.kind == 'token-bucket' or c.kind == 'fixed-window' then counters[c.kind].write(c, now) end
    end
  end
  if mode == 'peek' then refused, wait = -1, 0 end
  local answer = format('%d %d %d', refused, wait, gathered)
  for _, c in ipairs(charges) do
    local counter = counters[c.kind]
    local reset = counter.reset(c, now)
    if c.unseeded then
      answer = answer .. ' u 0'
    else
      answer = answer .. format(' %d %d', math.max(0, counter.remaining(c)), reset)
    end
  end
  return answer
end

local now = clock(ARGV[1])
local answers = {}
for at = 2, #ARGV do answers[at - 1] = answer(ARGV[at], now) end
return answers
