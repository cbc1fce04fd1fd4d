--[[
  pace: takes what one call needs of each of a vendor's limits, or says how long to wait for it. All of it or nothing.

  KEYS[1]  hold, until when nobody of the account may call   KEYS[2] never
  KEYS[3…] a limit each, and four of ARGV: what it is, two numbers, and how much of it is wanted
    rate        hash `tokens`, `at` in ms     refilled a second, burst
    inProgress  sorted set of `<at>:<n>:<count>` ms that each lasts, most at once
    spacing     ms of when it may be next     ms between two
    budget      how much was used             most, ms until it is forgotten
  What is wanted above the burst, or above the most at once, is the whole of it.

  Returns milliseconds to wait; 0: taken; -1: a budget is used up.
]]
local hold, never = KEYS[1], KEYS[2]

redis.call('DEL', never) -- allowed when full, so that the rest is too
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local held = tonumber(redis.call('GET', hold)) or 0
if held > now then return math.ceil(held - now) end

local longest, isSpent = 0, false
local takes = {}
local function need(wait)
  longest = math.max(longest, math.ceil(wait))
end

local function rate(key, perSecond, burst, wanted)
  wanted = math.min(wanted, burst)
  local kept = redis.call('HMGET', key, 'tokens', 'at')
  local passed = now - (tonumber(kept[2]) or now)
  local tokens = math.min(burst, (tonumber(kept[1]) or burst) + math.max(0, passed) * perSecond / 1000)
  local function keep(left)
    redis.call('HSET', key, 'tokens', string.format('%.9f', left), 'at', string.format('%.3f', now))
  end
  if tokens < wanted then
    -- A clock that went back refills nothing, and counts from where it is: else nothing would refill until it has caught up.
    if passed < 0 then keep(tokens) end
    need((wanted - tokens) * 1000 / perSecond)
  end
  return function() keep(tokens - wanted) end
end

local function inProgress(key, lasting, most, wanted)
  wanted = math.min(wanted, most)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.3f', now))
  local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  local sum = 0
  for i = 1, #members, 2 do sum = sum + tonumber(string.match(members[i], ':(%d+)$')) end
  local free = most - sum
  for i = 1, #members, 2 do
    if free >= wanted then break end
    free = free + tonumber(string.match(members[i], ':(%d+)$'))
    -- Of a clock that went back nothing lasts longer than it would from now.
    need(math.min(tonumber(members[i + 1]) - now, lasting))
    if tonumber(members[i + 1]) > now + lasting then redis.call('ZADD', key, string.format('%.3f', now + lasting), members[i]) end
  end
  return function()
    -- How many there are tells two of one moment apart.
    redis.call('ZADD', key, string.format('%.3f', now + lasting), string.format('%.3f:%d:%d', now, #members, wanted))
  end
end

local function spacing(key, each)
  local next = tonumber(redis.call('GET', key)) or 0
  if next > now then need(math.min(next - now, each)) end
  return function() redis.call('SET', key, string.format('%.3f', now + each), 'PX', math.ceil(each)) end
end

local function budget(key, most, lasting, wanted)
  if (tonumber(redis.call('GET', key)) or 0) + wanted > most then isSpent = true end
  return function() redis.call('SET', key, (tonumber(redis.call('GET', key)) or 0) + wanted, 'PX', lasting) end
end

-- In quotes, as callers have these names: all others are shortened.
local limits = { ['rate'] = rate, ['inProgress'] = inProgress, ['spacing'] = spacing, ['budget'] = budget }
for i = 3, #KEYS do
  local at = (i - 3) * 4
  takes[#takes + 1] = limits[ARGV[at + 1]](KEYS[i], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]))
end
if isSpent then return -1 end
if longest > 0 then return longest end
for _, take in ipairs(takes) do take() end
return 0
