--[[
  publish: appends invalidations to a tenant's log, raises their epochs and wakes whoever listens. All or nothing: what
  a key of another type would refuse is met before the first write, and where a later command is refused all the same
  (for a right that is missing, a record or a store that is full), what was written before it is taken back.

  KEYS[1]  head         <generation> <last epoch> <last seq> <identity>
  KEYS[2]  log          stream, id <epoch>-0
  KEYS[3]  root         <epoch> <watermark> <hard> <floor> of the namespace above all
  KEYS[4]  answer       what was answered under this idempotency key; unused without one
  KEYS[5]  later        passes by when they are due
  KEYS[6]  laterItems   those passes' bodies
  KEYS[7]  laterAfter   passes that wait until an epoch was handled everywhere
  KEYS[8]  namespaces   how many were published in
  KEYS[9]  tagged       hash, field per key of tags that there is
  KEYS[10…] two an item: the namespace's row, and its tags (the root's of `everything`)

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

  Returns {'ok' | 'dup', '<generation> <epoch>:<seq> …'}, {'reused'}, or {'tooMany'} namespaces; fails with Redis's words,
  the command that it refused and its key.
]]
local head, log, root, answer = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local later, laterItems, laterAfter, namespaces, tagged = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local fingerprint, remember, clock, maxEntries = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local passDone, most, count = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])

-- Tags that one publish lets go beside as many as it brings: a million at once would block Redis for half a second.
local TIDY = 1000

local unpack = table.unpack or unpack
-- Lua would write a number of 16 digits as 1.7e+15.
local function str(number) return string.format('%.0f', number) end

local refusal
local function try(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  refusal = refusal or redis.error_reply(reply.err .. ' (' .. command .. ' ' .. key .. ')')
end

-- Commands, each with those that take it back.
local plan
local function add(command, ...) plan[#plan + 1] = {command, {...}} end
local function set(key, value, old, ...)
  add({'SET', key, value, ...}, old and {'SET', key, old})
end
-- Carries the plan out, or nothing of it.
local function write()
  if refusal then return end
  for at = 1, #plan do
    try(unpack(plan[at][1]))
    if refusal then
      for done = at - 1, 1, -1 do
        for _, back in ipairs(plan[done][2]) do
          if back then redis.pcall(unpack(back)) end
        end
      end
      return
    end
  end
end

local function forgetPass()
  if passDone == '' then return end
  for _, key in ipairs({later, laterAfter}) do
    local at = try('ZSCORE', key, passDone)
    if at then add({'ZREM', key, passDone}, {'ZADD', key, at, passDone}) end
  end
  local body = try('HGET', laterItems, passDone)
  if body then add({'HDEL', laterItems, passDone}, {'HSET', laterItems, passDone, body}) end
end

if fingerprint ~= '' then
  local remembered = try('GET', answer)
  if remembered then
    local known, said = string.match(remembered, '^(%S+) (.+)$')
    if known ~= fingerprint then return {'reused'} end
    plan = {}
    forgetPass()
    write()
    return refusal or {'dup', said}
  end
end

-- All that is read is read before anything is written.
local rows, order, items, parts, new = {}, {}, {}, {}, 0
local function rowOf(key)
  if not rows[key] then
    local text = try('GET', key)
    local e, hard, floor = string.match(text or '', '^(%d+) %d+ (%d+) (%d+)$')
    rows[key] = {key = key, text = text, e = e or '0', hard = hard or '0', floor = floor or '0', known = 0, more = 0}
  end
  return rows[key]
end
local stored, rootEpoch = try('GET', head), tonumber(rowOf(root).e)
local at = 8
for index = 1, count do
  local one = {body = ARGV[at], channel = ARGV[at + 1], raises = ARGV[at + 2], mode = ARGV[at + 3],
    origin = ARGV[at + 6], passes = tonumber(ARGV[at + 7]), passesAt = at + 8}
  local row = rowOf(KEYS[8 + 2 * index])
  row.keepTags, row.maxTags = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  if not row.tags then
    row.tags = KEYS[9 + 2 * index]
    order[#order + 1] = row
    if row ~= rows[root] then
      row.known = try('ZCARD', row.tags)
      -- Rows of namespaces never go, so their number is bounded.
      if not row.text then new = new + 1 end
    end
  end
  at = one.passesAt + 3 * one.passes
  one.row, items[index] = row, one
  for tag = at + 1, at + ARGV[at] do
    local part = row.part
    -- Lua puts no more than some thousands of values into one command.
    if not part or #part.owners == 1000 then
      part = {row = row, asked = {'ZMSCORE', row.tags}, owners = {}}
      row.part, parts[#parts + 1] = part, part
    end
    part.asked[#part.asked + 1], part.owners[#part.owners + 1], row.more = ARGV[tag], one, row.more + 1
  end
  at = at + ARGV[at] + 1
end
for _, part in ipairs(parts) do part.epochs = try(unpack(part.asked)) end
local there = new > 0 and try('GET', namespaces)
local function refuse()
  -- A key that is none of ours has to be set aside, and the relay is told where to look.
  for _, one in ipairs(items) do redis.pcall('PUBLISH', one.channel, '{"v":1,"broken":true}') end
  return refusal
end
if refusal then return refuse() end
if new > 0 and most > 0 and (tonumber(there) or 0) + new > most then return {'tooMany'} end

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

local generation, last, seq, identity = string.match(stored or '', '^(%d+) (%d+) (%d+) (%S+)$')
local born = not generation
-- With no head, an id that the log already holds must not be given out again. And a birth is a gap: seq 1 is never
-- written, so that no cursor of before reads across it.
if born then last, seq, identity = top(), 1, '-' else last, seq = tonumber(last), tonumber(seq) end

local function raiseTags(part)
  local row = part.row
  local raise, drop, put = {'ZADD', row.tags}, {'ZREM', row.tags}, {'ZADD', row.tags}
  for index, epoch in ipairs(part.epochs) do
    local tag = part.asked[index + 2]
    if not epoch then row.all = row.all + 1 end
    raise[#raise + 1], raise[#raise + 2] = part.owners[index].epoch, tag
    if epoch then put[#put + 1], put[#put + 2] = epoch, tag else drop[#drop + 1] = tag end
  end
  add(raise, unpack(#drop == 2 and {put} or #put == 2 and {drop} or {put, drop}))
end

local told, channels, wakes
-- One attempt, with epochs above `last`.
local function publish()
  refusal, plan, told, channels, wakes = nil, {}, {}, {}, {}
  local first = math.max(last + 1, now)
  if first + count > 9007199254740000 then
    refusal = redis.error_reply('EPOCH beyond 2^53')
    return
  end
  if born then generation = str(first) end
  for index, one in ipairs(items) do
    one.epoch = str(first + index - 1)
    if one.raises ~= 'tags' then one.row.e = one.epoch end
    if one.mode == 'purge' then one.row.hard = one.epoch end
    one.row.watermark, one.row.all = one.epoch, one.row.known
  end
  -- The first that writes is one that Redis refuses when it is full. Of a row that is new it writes nothing: whoever may
  -- not delete could not take it back.
  for _, row in ipairs(order) do
    row.value = row.e .. ' ' .. row.watermark .. ' ' .. row.hard .. ' ' .. row.floor
    if row.text then set(row.key, row.value, row.text) else set(row.key, row.value, false, 'XX') end
  end
  -- Nothing goes by these: without the right to take passes away none could be taken back.
  if passDone ~= '' then
    add({'ZREM', later, '-'})
    add({'HDEL', laterItems, '-'})
  end
  for _, part in ipairs(parts) do raiseTags(part) end
  -- One command for the passes of all: there may be three hundred.
  local put, drop = {}, {}
  for key, commands in pairs({[laterItems] = {'HSET', 'HDEL'}, [later] = {'ZADD', 'ZREM'}, [laterAfter] = {'ZADD', 'ZREM'}}) do
    put[key], drop[key] = {commands[1], key}, {commands[2], key}
  end
  local function keep(key, id, first, second)
    put[key][#put[key] + 1], put[key][#put[key] + 2], drop[key][#drop[key] + 1] = first, second, id
  end
  for _, one in ipairs(items) do
    for pass = one.passesAt, one.passesAt + 3 * one.passes - 1, 3 do
      local kind, id = ARGV[pass], (one.origin == '' and one.epoch or one.origin) .. ':' .. ARGV[pass]
      keep(laterItems, id, id, ARGV[pass + 2])
      if kind == 'second' then keep(laterAfter, id, one.epoch, id)
      else keep(later, id, str(now + ARGV[pass + 1]), id) end
    end
  end
  for key, command in pairs(put) do
    if #command > 2 then add(command, drop[key]) end
  end
  forgetPass()
  for index, one in ipairs(items) do
    local number, id = str(seq + index), one.epoch .. '-0'
    add({'XADD', log, 'MAXLEN', '~', maxEntries, id, 'v', '1', 'g', generation, 's', number, 'd', one.body},
      {'XDEL', log, id})
    told[index] = one.epoch .. ':' .. number
    if not wakes[one.channel] then channels[#channels + 1] = one.channel end
    wakes[one.channel] = '{"v":1,"g":' .. generation .. ',"e":' .. one.epoch .. ',"s":' .. number .. '}'
  end
  -- Whoever came so far may set what is left, and Redis runs a script to its end that has begun to write.
  for _, row in ipairs(order) do
    if not row.text then set(row.key, row.value) end
  end
  if new > 0 then set(namespaces, str((tonumber(there) or 0) + new), there) end
  -- After what it covers: a replica that applies command by command is never ahead of itself.
  set(head, generation .. ' ' .. str(first + count - 1) .. ' ' .. str(seq + count) .. ' ' .. identity, stored)
  told = generation .. ' ' .. table.concat(told, ' ')
  if fingerprint ~= '' then set(answer, fingerprint .. ' ' .. told, false, 'EX', remember) end
  write()
end

local jump = 0
publish()
while refusal and string.find(refusal.err, 'equal or smaller', 1, true) do
  -- A head older than its log, as after a partial restore, or an entry that was taken back: the log's own top counts.
  last, jump = math.max(last + jump, top()), 2 * jump + 1
  publish()
end
if refusal then return refuse() end

-- The log is the truth from here on: what fails below fails nothing.
for _, row in ipairs(order) do
  if row.all > 0 then
    if row.known == 0 then try('HSET', tagged, row.tags, '') end
    -- Those go that are older than entries may be, or than an invalidation of the whole namespace, beside which they say
    -- nothing, and the oldest above their number. What goes raises the floor: a tag that is missing is as old as that.
    local old = try('ZCOUNT', row.tags, '-inf', str(math.max(now - row.keepTags, row.e - 1, rootEpoch - 1))) or 0
    -- Exact but for a tag that is new to two items of one publish.
    local all = row.all
    if old > 0 or all > row.maxTags then all = try('ZCARD', row.tags) or 0 end
    local go = math.min(math.max(old, all - row.maxTags), TIDY + row.more)
    -- All at once is given back in another thread.
    if old == all then go = all end
    local newest = go > 0 and try('ZRANGE', row.tags, go - 1, go - 1, 'WITHSCORES')
    if newest and newest[2] then
      -- As numbers: later Luas compare two texts letter by letter.
      local floor = str(math.max(tonumber(row.floor), tonumber(newest[2])))
      try('SET', row.key, row.e .. ' ' .. row.watermark .. ' ' .. row.hard .. ' ' .. floor)
      if go == all then try('UNLINK', row.tags) else try('ZREMRANGEBYRANK', row.tags, 0, go - 1) end
    end
  end
end
for _, channel in ipairs(channels) do redis.pcall('PUBLISH', channel, wakes[channel]) end
return {'ok', told}
