--[[
  aside: renames what stands under a namespace's keys without being what we write there, and makes good for it. What
  epochs it had nobody knows, so that all of the namespace is as old as the epoch that is given here: above the head's
  last, which only the next publish reaches, so that nothing is fresh until then.

  KEYS[1]  head  KEYS[2] row  KEYS[3] tags  KEYS[4] rowAside  KEYS[5] tagsAside  KEYS[6] never

  Returns {keys that were renamed}.
]]
local head, row, tags, rowAside, tagsAside, never = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]

redis.call('DEL', never) -- allowed when full, so that the rest is too
local function isWrong(key, kind)
  local is = redis.call('TYPE', key).ok
  return is ~= 'none' and is ~= kind
end
local isRow, isTags = isWrong(row, 'string'), isWrong(tags, 'zset')
local renamed = {}
if not isRow and not isTags then return renamed end

local said = redis.call('TYPE', head).ok == 'string' and redis.call('GET', head) or ''
local last = tonumber(string.match(said, '^%d+ (%d+) ')) or 0
local time = redis.call('TIME')
local epoch = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
local e, hard = '0', '0'
if not isRow then
  e, hard = string.match(redis.call('GET', row) or '', '^(%d+) %d+ (%d+) ')
end
if isRow then
  redis.call('RENAME', row, rowAside)
  renamed[1] = row
  -- Whether anything in it was hard is not known either.
  e, hard = epoch, epoch
end
if isTags then
  redis.call('RENAME', tags, tagsAside)
  renamed[#renamed + 1] = tags
end
redis.call('SET', row, (e or '0') .. ' ' .. epoch .. ' ' .. (hard or '0') .. ' ' .. epoch)
return renamed
