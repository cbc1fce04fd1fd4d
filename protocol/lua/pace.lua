--[[
  pace: takes tokens from an account's bucket, or says how long to wait for them.

  KEYS[1]  bucket   `tokens` and `at` in ms   KEYS[2] hold, while it is there nobody may   KEYS[3] never
  ARGV[1]  tokens refilled a second   ARGV[2] burst   ARGV[3] tokens wanted (more than the burst: the whole of it)

  Returns milliseconds to wait; 0: taken.
]]
local bucket, hold, never = KEYS[1], KEYS[2], KEYS[3]
local perSecond, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted = math.min(tonumber(ARGV[3]), burst)

redis.call('DEL', never) -- allowed when full, so that the rest is too
local held = redis.call('PTTL', hold)
if held > 0 then return held end
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local kept = redis.call('HMGET', bucket, 'tokens', 'at')
local tokens = tonumber(kept[1]) or burst
local passed = now - (tonumber(kept[2]) or now)
tokens = math.min(burst, tokens + math.max(0, passed) * perSecond / 1000)
local function keep(left)
  redis.call('HSET', bucket, 'tokens', string.format('%.9f', left), 'at', string.format('%.3f', now))
end
if tokens < wanted then
  -- A clock that went back refills nothing, and counts from where it is: else nothing would refill until it has caught up.
  if passed < 0 then keep(tokens) end
  return math.ceil((wanted - tokens) * 1000 / perSecond)
end
keep(tokens - wanted)
return 0
