--[[
  sweep: lets tags go that say nothing any more: older than entries may be, or than an invalidation of the namespace, of
  one above it, or of everything. The floor says the same of them, at no memory.

  KEYS[1]  never  KEYS[2] tagged, a hash with a field per key of tags that there is
  KEYS[3…] a namespace each: its row, its tags, and the rows of those above it
  ARGV     a namespace each: how many rows of those above there are, microseconds for which a tag is known singly

  Returns how many of them are left to go: only so many go at once.
]]
local never, tagged = KEYS[1], KEYS[2]
-- Redis does nothing else meanwhile.
local room = 1000

redis.call('DEL', never) -- allowed when full, so that the rest is too
local function str(number) return string.format('%.0f', number) end
local function epochOf(row) return tonumber(string.match(redis.call('GET', row) or '', '^(%d+)')) or 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local left, at = 0, 3
for namespace = 1, #ARGV, 2 do
  local row, tags, above = KEYS[at], KEYS[at + 1], tonumber(ARGV[namespace])
  local cut = now - ARGV[namespace + 1]
  for other = at + 2, at + 1 + above do cut = math.max(cut, epochOf(KEYS[other]) - 1) end
  at = at + 2 + above
  local e, watermark, hard, floor = string.match(redis.call('GET', row) or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local all = redis.call('ZCARD', tags)
  if all == 0 then
    redis.call('HDEL', tagged, tags)
  elseif e then
    cut = math.max(cut, e - 1)
    local old = redis.call('ZCOUNT', tags, '-inf', str(cut))
    local go = math.min(old, room)
    -- All at once is given back in another thread.
    if old == all then go = all else room = room - go end
    left = left + old - go
    if go > 0 then
      local newest = redis.call('ZRANGE', tags, go - 1, go - 1, 'WITHSCORES')[2]
      -- As numbers: later Luas compare two texts letter by letter.
      floor = str(math.max(tonumber(floor), tonumber(newest)))
      redis.call('SET', row, e .. ' ' .. watermark .. ' ' .. hard .. ' ' .. floor)
      if go == all then
        redis.call('UNLINK', tags)
        redis.call('HDEL', tagged, tags)
      else
        redis.call('ZREMRANGEBYRANK', tags, 0, go - 1)
      end
    end
  end
end
return left
