--[[
  acquire: takes or renews a lane's lease, and puts the owner into its cursor.

  KEYS[1]  lease   KEYS[2] cursor   KEYS[3] never
  ARGV[1]  target  ARGV[2] owner, `<relay>.<unique per acquisition>`   ARGV[3] lease in milliseconds

  Returns {the cursor as held, `<owner> <generation> <epoch> <seq>`}, or {'', milliseconds for which it is another's}.
]]
local lease, cursor, never = KEYS[1], KEYS[2], KEYS[3]
local target, owner, ttl = ARGV[1], ARGV[2], ARGV[3]

redis.call('DEL', never) -- allowed when full, so that the rest is too: a full Redis must be able to empty itself
local holder = redis.call('GET', lease)
local function relay(name) return string.match(name, '^(.+)%.') or name end
-- A lease that this relay itself let run out may stand for a moment longer here: whoever had it has the new one.
if holder and relay(holder) ~= relay(owner) then return {'', redis.call('PTTL', lease)} end
redis.call('SET', lease, owner, 'PX', ttl)
local held = redis.call('HGET', cursor, target) or '- 0 0 0'
-- A function, as an owner's '%' would be read as a capture.
held = string.gsub(held, '^%S+', function() return owner end)
redis.call('HSET', cursor, target, held)
return {held}
