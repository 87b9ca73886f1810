-- KEYS: a budget's counter, the tenant's open reservations. ARGV: what the database knows to be spent, life in ms.
-- What is reserved at the moment is not in the database yet.
if call('EXISTS', KEYS[1]) == 1 then return 0 end
local used = tonumber(ARGV[1])
for _, key in ipairs(call('ZRANGE', KEYS[2], 0, -1)) do
  local record = call('GET', key)
  if record and record ~= '' then
    for _, kept in ipairs(cmsgpack.unpack(record)) do
      if kept[KEY] == KEYS[1] then used = used + kept[COST] end
    end
  end
end
call('SET', KEYS[1], pack('<ddd', 0, used, 0), 'PX', ARGV[2])
return 1
