--[[
  rest: whether anything of a tenant waits for somebody: a lane that is not at the end of the log, an item or a pass
  whose time has come. Reads only, in one atomic step.

  KEYS[1]  head   KEYS[2] cursor   KEYS[3] removed   KEYS[4] later   KEYS[5] laterAfter
  KEYS[6..]  sorted sets of what is due, by when

  Returns {head, cursors, lanes that were noted as removed, when the first of each sorted set is due from `later` on},
  nil where there is none; '0' for a key that is of another type, which whoever owns it then meets, and cursors nil.
]]
local function first(key)
  local found = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')
  if found.err then return '0' end
  return found[2] or false
end
local function all(key)
  local found = redis.pcall('HGETALL', key)
  return not found.err and found
end
local due = {}
for index = 4, #KEYS do due[index - 3] = first(KEYS[index]) end
return {redis.call('GET', KEYS[1]), all(KEYS[2]), all(KEYS[3]), due}
