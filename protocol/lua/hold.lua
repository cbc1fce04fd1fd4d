--[[
  hold: what a vendor said of its limits: how long nobody of the account may call, and what is left of a bucket.

  KEYS[1]  hold   KEYS[2] never   KEYS[3…] buckets, as pace has them, and one of ARGV each: tokens left
  ARGV[1]  ms from now; 0: no hold

  A hold that is longer stays; tokens are lowered, never raised: others have calls under way that the vendor has not
  counted yet. Returns 0.
]]
local hold, never = KEYS[1], KEYS[2]
local length = math.ceil(tonumber(ARGV[1]))

redis.call('DEL', never) -- allowed when full, so that the rest is too
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
if length > 0 and (tonumber(redis.call('GET', hold)) or 0) < now + length then
  redis.call('SET', hold, string.format('%.3f', now + length), 'PX', length)
end
for i = 3, #KEYS do
  local left = tonumber(ARGV[i - 1])
  local tokens = tonumber(redis.call('HGET', KEYS[i], 'tokens'))
  if not tokens or tokens > left then
    redis.call('HSET', KEYS[i], 'tokens', string.format('%.9f', left), 'at', string.format('%.3f', now))
  end
end
return 0
