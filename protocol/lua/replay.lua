--[[
  replay: puts a dead letter back among a target's due items, if it is still there, and wakes its lane.

  KEYS[1]  dead   KEYS[2] due   KEYS[3] dueItems   KEYS[4] late
  ARGV[1]  id of the letter
  ARGV[2]  at in ms   ARGV[3] id of the item   ARGV[4] item
  ARGV[5]  channel    of the wake
  then late rows: epoch, the row that is replaced, receipt

  Returns 'ok', 'gone', or 'changed' where a row is no longer as it was read. But for 'ok' nothing was written.
]]
local dead, due, dueItems, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, at, item, text, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if #redis.call('XRANGE', dead, id, id) == 0 then return 'gone' end
for i = 6, #ARGV, 3 do
  if not redis.call('ZSCORE', late, ARGV[i + 1]) then return 'changed' end
end
-- The first that writes is one that Redis refuses when it is full: then nothing is lost of the letter.
redis.call('HSET', dueItems, item, text)
redis.call('ZADD', due, at, item)
for i = 6, #ARGV, 3 do
  redis.call('ZREM', late, ARGV[i + 1])
  redis.call('ZADD', late, ARGV[i], ARGV[i + 2])
end
redis.call('XDEL', dead, id)
redis.pcall('PUBLISH', channel, '{"v":1}')
return 'ok'
