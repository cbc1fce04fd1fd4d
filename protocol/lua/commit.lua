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
  ARGV[7]  most     receipts, and rows beside them, towards which they are trimmed: as the log
  then counted lists:
    due   at in ms, id, item
    done  ids of due items that are finished
    late  epoch, the row that is replaced ('' for whatever there is), receipt
    dead  dead letters

  Returns {'ok', head, dead letters that were trimmed}, {'lost'}, or {'changed'} where a row is no longer as it was
  read; fails with WRONGTYPE where a key is none of ours. But for 'ok' nothing was written. Where a command is refused
  for a right that is missing, the cursor has not moved and no letter is written: the same commit can be made again.
]]
local cursor, sent, late, due, dueItems, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local log, head, never = KEYS[7], KEYS[8], KEYS[9]
local target, held, to, receipt, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local letters, most = ARGV[6], tonumber(ARGV[7])

-- Of what is trimmed: Redis does nothing else meanwhile, and the next commit goes on.
local STEP = 10000

redis.call('DEL', never) -- allowed when full, so that the rest is too
-- Before anything is written: a script that stops half-way is not undone.
for index, kind in ipairs({'hash', 'stream', 'zset', 'zset', 'hash', 'stream', 'stream'}) do
  local is = redis.call('TYPE', KEYS[index]).ok
  if is ~= 'none' and is ~= kind then return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' is a ' .. is) end
end
if redis.call('HGET', cursor, target) ~= held then return {'lost'} end
local said = redis.call('GET', head)

-- Where each list begins.
local dueAt = 8
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
-- Changes nothing: whether the cursor may be moved is known before anything is written for its sake.
redis.call('HSET', cursor, target, held)
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
-- Last, as one that is written again is a second letter.
each(deadAt, 1, function(i) redis.call('XADD', dead, '*', 'd', ARGV[i]) end)
redis.call('HSET', cursor, target, owner .. ' ' .. to)

-- What fails from here on fails nothing. After a lost cursor the receipts may be ahead of it; one must never stop a lane.
if epoch ~= from then redis.pcall('XADD', sent, epoch .. '-0', 'from', from, 'r', receipt) end
local function trim(key, ...)
  local gone = redis.pcall('XTRIM', key, ...)
  return type(gone) == 'number' and gone or 0
end
local trimmed = tonumber(ARGV[deadAt]) > 0 and trim(dead, 'MAXLEN', '~', letters) or 0
local oldest = string.format('%.0f', keep)
trim(sent, 'MINID', '~', oldest .. '-0', 'LIMIT', STEP)
trim(sent, 'MAXLEN', '~', most, 'LIMIT', STEP)
local old, rows = redis.pcall('ZCOUNT', late, '-inf', '(' .. oldest), redis.pcall('ZCARD', late)
if type(old) == 'number' and type(rows) == 'number' then
  local go = math.min(math.max(old, rows - most), 1000)
  if go > 0 then redis.pcall('ZREMRANGEBYRANK', late, 0, go - 1) end
end
-- What some lane has not read yet stays, also one whose relay has another configuration: the lowest cursor in Redis counts.
local cursors = redis.pcall('HVALS', cursor)
if cursors.err then keep = 0 end
for _, other in ipairs(cursors) do
  local read = tonumber(string.match(other, '^%S+ %S+ (%d+) '))
  if read and read < keep then keep = read end
end
oldest = string.format('%.0f-0', keep)
-- By whole nodes first, up to the limit; where it was far from that, what is left is less than one.
if trim(log, 'MINID', '~', oldest, 'LIMIT', STEP) < STEP / 2 then trim(log, 'MINID', '=', oldest) end
return {'ok', said, trimmed}
