--[[
  read: what a log holds after an epoch, and its head, in one atomic step: whether that is all can be told from both.
  Also when the first item of a target is due.

  KEYS[1]  head   KEYS[2] log   KEYS[3] due
  ARGV[1]  after, an epoch   ARGV[2] limit of entries   ARGV[3] bytes after which no further entries are read

  Returns {head, entries, when the first item is due in ms (nothing where none is)}.
]]
local head, log, due = KEYS[1], KEYS[2], KEYS[3]
local after, limit, maxBytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- Of 256 KiB each these are 1 MiB: nobody can tell how large an entry is before it was read.
local STEP = 4

local said = redis.call('GET', head)
-- The head is written after what it covers. What follows that was refused, and could not be taken back.
local last = string.match(said or '', '^%d+ (%d+) ') or '+'
local entries, bytes = {}, 0
-- `<epoch>-1` excludes the entry itself on every Redis; `(` needs 6.2.
local from = after .. '-1'
while #entries < limit and bytes < maxBytes do
  local some = redis.call('XRANGE', log, from, last, 'COUNT', math.min(STEP, limit - #entries))
  if #some == 0 then break end
  for _, entry in ipairs(some) do
    entries[#entries + 1] = entry
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
  end
  from = string.match(some[#some][1], '^(%d+)') .. '-1'
end
return {said, entries, redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]}
