-- KEYS: one of the slot. ARGV: time or '', then a line for each reservation, with what its charges really cost.
-- Returns for each whether it was there. Its name stays taken for a while: it may be settled again by somebody who did
-- not hear the answer, and a reservation whose answer was lost may still be to come.
local TAKEN_LIFE = '120000'

local function settle(line, now)
  local asked = read_line(line, 7)
  local record = call('GET', asked.record)
  if asked.life > 0 then call('ZREM', asked.open, asked.record) end
  call('SET', asked.record, '', 'PX', TAKEN_LIFE)
  if not record or record == '' then return 0 end
  local at = tonumber(record)
  local kept
  if at then
    -- Nothing was held: all that is kept is when it was.
    kept = {}
    for place, c in ipairs(asked.charges) do
      local start = c.kind == 'fixed-window' and at - at % c.window or at
      kept[place] = { c.kind, c.key, c.limit, c.window, c.burst, c.cost, start, asked.name }
    end
  else
    kept = cmsgpack.unpack(record)
  end
  correct(kept, now, function(place) return asked.charges[place].costs end)
  return 1
end

local now = clock(ARGV[1])
local found = {}
for at = 2, #ARGV do found[at - 1] = settle(ARGV[at], now) end
return found
