--[[
  publish: appends invalidations to a tenant's log, raises their epochs and wakes whoever listens. All or nothing:
  the first command that writes is the only one that can refuse.

  KEYS[1]  head         <generation> <last epoch> <last seq> <identity>
  KEYS[2]  log          stream, id <epoch>-0
  KEYS[3]  root         <epoch> <watermark> <hard> <floor> of the namespace above all
  KEYS[4]  answer       what was answered under this idempotency key; unused without one
  KEYS[5]  later        passes by when they are due
  KEYS[6]  laterItems   those passes' bodies
  KEYS[7]  laterAfter   passes that wait until an epoch was handled everywhere
  KEYS[8]  namespaces   how many were published in
  KEYS[9…] two an item: the namespace's row, and its tags (the root's of `everything`)

  ARGV[1]  fingerprint  of the request's body; '' for none: nothing is remembered
  ARGV[2]  remember     seconds for which the answer is kept
  ARGV[3]  clock        microseconds since 1970; '' for the server's own
  ARGV[4]  maxEntries   towards which the log is trimmed; approximate
  ARGV[5]  passDone     the pass that this publish carries out; '' for none
  ARGV[6]  most         namespaces that there may be; '0' for any number
  ARGV[7]  count        of items
  then, an item:
    body       JSON, opaque here
    channel    of its wake
    raises     'tags' | 'namespace' | 'everything'
    mode       'invalidate' | 'purge'
    keepTags   microseconds for which a tag is known singly
    maxTags    how many are
    origin     the epoch that its passes are named after; '' for its own
    passes     count, then kind, delay in microseconds, body of each
    tags       count, then the tags

  Returns {'ok' | 'dup', '<generation> <epoch>:<seq> …'}, {'reused'}, or {'tooMany'} namespaces.
]]
local head, log, root, answer = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local later, laterItems, laterAfter, namespaces = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local fingerprint, remember, clock, maxEntries = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local passDone, most, count = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local firstItem, firstKey = 8, 9

-- Lua would write a number of 16 digits as 1.7e+15.
local function str(number) return string.format('%.0f', number) end

local function forgetPass()
  if passDone ~= '' then
    redis.call('ZREM', later, passDone)
    redis.call('ZREM', laterAfter, passDone)
    redis.call('HDEL', laterItems, passDone)
  end
end

if fingerprint ~= '' then
  local remembered = redis.call('GET', answer)
  if remembered then
    local known, said = string.match(remembered, '^(%S+) (.+)$')
    if known ~= fingerprint then return {'reused'} end
    forgetPass()
    return {'dup', said}
  end
end

-- Rows of namespaces never go, so their number is bounded; the same new one twice in a request counts as one.
local new, fresh = 0, {}
for item = 0, count - 1 do
  local row = KEYS[firstKey + 2 * item]
  if row ~= root and not fresh[row] and redis.call('EXISTS', row) == 0 then
    fresh[row] = true
    new = new + 1
  end
end
if new > 0 and most > 0 and (tonumber(redis.call('GET', namespaces)) or 0) + new > most then return {'tooMany'} end

local now
if clock ~= '' then
  now = tonumber(clock)
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function top()
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  return newest[1] and tonumber(string.match(newest[1][1], '^(%d+)')) or 0
end

local generation, last, seq, identity = string.match(redis.call('GET', head) or '', '^(%d+) (%d+) (%d+) (%S+)$')
local born = not generation
-- With no head, an id that the log already holds must not be given out again.
if born then last, seq, identity = top(), 0, '-' else last, seq = tonumber(last), tonumber(seq) end

local said, channels, wakes = {}, {}, {}
local at, key = firstItem, firstKey
for item = 1, count do
  local body, channel, raises, mode = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local keepTags, maxTags, origin = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), ARGV[at + 6]
  local row, tagSet = KEYS[key], KEYS[key + 1]
  key = key + 2
  at = at + 7

  local epoch = math.max(last + 1, now)
  if item == 1 and born then
    generation = str(epoch)
    seq = 1 -- A birth is a gap: seq 1 is never written, so that no cursor of before reads across it.
  end
  seq = seq + 1
  local function append()
    -- Of all items at once: when the first is written, nothing may refuse any more.
    if item == 1 and epoch + count > 9007199254740000 then return redis.error_reply('EPOCH beyond 2^53') end
    return redis.pcall('XADD', log, 'MAXLEN', '~', maxEntries, str(epoch) .. '-0',
      'v', '1', 'g', generation, 's', str(seq), 'd', body)
  end
  local added = append()
  if type(added) == 'table' and added.err and string.find(added.err, 'equal or smaller', 1, true) then
    -- A head older than its log, as after a partial restore: the log's own top counts.
    epoch = math.max(top() + 1, now)
    if item == 1 and born then generation = str(epoch) end
    added = append()
  end
  if type(added) == 'table' and added.err then return added end
  last = epoch

  local passes = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, passes do
    local kind, delay, passBody = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
    at = at + 3
    local id = (origin == '' and str(epoch) or origin) .. ':' .. kind
    redis.call('HSET', laterItems, id, passBody)
    if kind == 'second' then redis.call('ZADD', laterAfter, str(epoch), id)
    else redis.call('ZADD', later, str(now + delay), id) end
  end

  local function raise(name, whole)
    local e, watermark, hard, floor = string.match(redis.call('GET', name) or '', '^(%d+) (%d+) (%d+) (%d+)$')
    if not e then e, hard, floor = '0', '0', '0' end
    if whole then e = str(epoch) end
    if mode == 'purge' then hard = str(epoch) end
    return e, hard, floor
  end

  local tags = tonumber(ARGV[at])
  at = at + 1
  if raises == 'everything' then
    local _, hard, floor = raise(root, true)
    redis.call('SET', root, str(epoch) .. ' ' .. str(epoch) .. ' ' .. hard .. ' ' .. floor)
  else
    local e, hard, floor = raise(row, raises == 'namespace')
    if tags > 0 then
      local members = {}
      for index = at, at + tags - 1 do
        members[#members + 1] = str(epoch)
        members[#members + 1] = ARGV[index]
      end
      redis.call('ZADD', tagSet, unpack(members))
      -- What is dropped raises the floor: a tag that is missing is as old as the floor, never unknown.
      local cut = now - keepTags
      if cut > tonumber(floor) and redis.call('ZREMRANGEBYSCORE', tagSet, '-inf', str(cut)) > 0 then
        floor = str(cut)
      end
      local over = redis.call('ZCARD', tagSet) - maxTags
      if over > 0 then
        local oldest = redis.call('ZRANGE', tagSet, over - 1, over - 1, 'WITHSCORES')
        floor = str(tonumber(oldest[2]))
        redis.call('ZREMRANGEBYSCORE', tagSet, '-inf', floor)
      end
    end
    redis.call('SET', row, e .. ' ' .. str(epoch) .. ' ' .. hard .. ' ' .. floor)
  end
  at = at + tags

  said[#said + 1] = str(epoch) .. ':' .. str(seq)
  if not wakes[channel] then channels[#channels + 1] = channel end
  wakes[channel] = '{"v":1,"g":' .. generation .. ',"e":' .. str(epoch) .. ',"s":' .. str(seq) .. '}'
end

if new > 0 then redis.call('INCRBY', namespaces, new) end
-- After what it covers: a replica that applies command by command is never ahead of itself.
redis.call('SET', head, generation .. ' ' .. str(last) .. ' ' .. str(seq) .. ' ' .. identity)
forgetPass()
local told = generation .. ' ' .. table.concat(said, ' ')
if fingerprint ~= '' then redis.call('SET', answer, fingerprint .. ' ' .. told, 'EX', remember) end
-- Last, and its failure fails nothing: the log is the truth, and the poll finds it.
for _, channel in ipairs(channels) do redis.pcall('PUBLISH', channel, wakes[channel]) end
return {'ok', told}
