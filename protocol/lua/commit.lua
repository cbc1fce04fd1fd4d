--[[
  commit: moves a lane's cursor and writes what became of the entries it passed, if the cursor is still as it was read.

  KEYS[1]  cursor  KEYS[2] sent   KEYS[3] late  KEYS[4] due  KEYS[5] dueItems  KEYS[6] dead
  KEYS[7]  log     KEYS[8] head   KEYS[9] never
  ARGV[1]  target
  ARGV[2]  held     the whole cursor as it was read: owner, generation, epoch, seq
  ARGV[3]  to       `<generation> <epoch> <seq>`; the held position when no cursor moves
  ARGV[4]  receipt  JSON, of the range (held, to]
  ARGV[5]  keep     epoch below which log and receipts may go
  ARGV[6]  letters  towards which the dead letters are trimmed
  then counted lists:
    due   at in ms, id, item
    done  ids of due items that are finished
    late  epoch, the row that is replaced ('' for whatever there is), receipt
    dead  dead letters

  Returns {'ok', head, dead letters that were trimmed}, {'lost'}, or {'changed'} where a row is no longer as it was
  read; fails with WRONGTYPE where a key is none of ours. But for 'ok' nothing was written.
]]
local cursor, sent, late, due, dueItems, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local log, head, never = KEYS[7], KEYS[8], KEYS[9]
local target, held, to, receipt, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local letters = ARGV[6]

redis.call('DEL', never) -- allowed when full, so that the rest is too
-- Before anything is written: a script that stops half-way is not undone.
for index, kind in ipairs({'hash', 'stream', 'zset', 'zset', 'hash', 'stream', 'stream'}) do
  local is = redis.call('TYPE', KEYS[index]).ok
  if is ~= 'none' and is ~= kind then return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' is a ' .. is) end
end
if redis.call('HGET', cursor, target) ~= held then return {'lost'} end

-- Where each list begins.
local dueAt = 7
local doneAt = dueAt + 1 + 3 * ARGV[dueAt]
local lateAt = doneAt + 1 + ARGV[doneAt]
local deadAt = lateAt + 1 + 3 * ARGV[lateAt]
local function each(at, width, use)
  for item = 0, ARGV[at] - 1 do
    local found = use(at + 1 + width * item)
    if found then return found end
  end
end

-- A dead letter may have been put back while we called: then the row says what we do not know.
local changed = each(lateAt, 3, function(i)
  return ARGV[i + 1] ~= '' and not redis.call('ZSCORE', late, ARGV[i + 1])
end)
if changed then return {'changed'} end

local owner, from = string.match(held, '^(%S+) %S+ (%d+) %d+$')
local epoch = string.match(to, '^%S+ (%d+) %d+$')
if epoch ~= from then
  -- pcall: after a lost cursor the receipts may be ahead of it, and a receipt must never stop a lane.
  redis.pcall('XADD', sent, epoch .. '-0', 'from', from, 'r', receipt)
end

each(dueAt, 3, function(i)
  redis.call('ZADD', due, ARGV[i], ARGV[i + 1])
  redis.call('HSET', dueItems, ARGV[i + 1], ARGV[i + 2])
end)
each(doneAt, 1, function(i)
  redis.call('ZREM', due, ARGV[i])
  redis.call('HDEL', dueItems, ARGV[i])
end)
each(lateAt, 3, function(i)
  redis.call('ZREMRANGEBYSCORE', late, ARGV[i], ARGV[i])
  redis.call('ZADD', late, ARGV[i], ARGV[i + 2])
end)
local trimmed = 0
if tonumber(ARGV[deadAt]) > 0 then
  each(deadAt, 1, function(i) redis.call('XADD', dead, '*', 'd', ARGV[i]) end)
  trimmed = redis.call('XTRIM', dead, 'MAXLEN', '~', letters)
end

redis.call('HSET', cursor, target, owner .. ' ' .. to)
local oldest = string.format('%.0f', keep)
redis.call('XTRIM', sent, 'MINID', '~', oldest .. '-0')
redis.call('ZREMRANGEBYSCORE', late, '-inf', '(' .. oldest)
-- What some lane has not read yet stays, also one whose relay has another configuration: the lowest cursor in Redis counts.
for _, other in ipairs(redis.call('HVALS', cursor)) do
  local read = tonumber(string.match(other, '^%S+ %S+ (%d+) '))
  if read and read < keep then keep = read end
end
redis.call('XTRIM', log, 'MINID', '=', string.format('%.0f-0', keep))
return {'ok', redis.call('GET', head), trimmed}
