--[[
  look: who this Redis says that it is, how far each tenant's log has come, and whether what this relay wrote last is
  still there: its beat, which a Redis that went back to what was before has lost, whatever it says of itself. The beat
  is also how relays say that they live. A replica is read, and nothing is written there.

  KEYS[1]  relays    KEYS[2] relayItems    KEYS[3..] heads
  ARGV[1]  relay     '' where only heads are asked for
  ARGV[2]  beat      the last one that this relay heard of, 0 for none
  ARGV[3]  item      what the relay says of itself, JSON; '' where that stands as it was
  ARGV[4]  forget    ms after which a relay without a beat is forgotten, together with the writing of an item
  ARGV[5]  identity  '' to read the replication id here

  Returns {role, identity, policy, beat, lost, failure, heads}: '' for a role or an eviction policy that is not told;
  identity '-' where there is none; lost 1 where the beat is gone or an older one stands there, and then nothing was
  written; failure '', or why the beat could not be written; a head that is missing is nil.
]]
local relays, items = KEYS[1], KEYS[2]
local relay, beat, item, forget, identity = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
local function str(number) return string.format('%.0f', number) end

local replication = redis.call('INFO', 'replication')
local role = string.match(replication, 'role:(%S+)') or ''
if identity == '' then identity = string.sub(string.match(replication, 'master_replid:(%x+)') or '-', 1, 16) end
local policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:(%S+)') or ''

local failure = ''
-- What keeps the beat from being written must not keep the heads from being read.
local function try(...)
  if failure ~= '' then return false end
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  failure = reply.err
  return false
end

local lost = 0
if relay ~= '' and role ~= 'slave' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local stored = tonumber(try('ZSCORE', relays, relay) or nil)
  -- One that is missing may have been forgotten, if it was silent for as long by this very clock.
  if failure == '' and beat > 0 and (stored and stored < beat or not stored and now - beat < forget) then
    lost = 1
  else
    -- Above all before, whatever the clock does: an older one is what a Redis that went back has.
    beat = math.max(now, beat + 1, (stored or 0) + 1)
    try('ZREM', relays, '') -- allowed when full, so that the rest is too: a relay of a full Redis lives
    try('ZADD', relays, str(beat), relay)
    if item ~= '' then
      try('HSET', items, relay, item)
      for _, silent in ipairs(try('ZRANGEBYSCORE', relays, '-inf', str(now - forget)) or {}) do
        try('ZREM', relays, silent)
        try('HDEL', items, silent)
      end
    end
    if failure ~= '' then beat = tonumber(ARGV[2]) end
  end
end

local heads = {}
for index = 3, #KEYS do
  local head = redis.pcall('GET', KEYS[index])
  -- One that is of another type is that tenant's trouble, and none of the others'.
  heads[index - 2] = type(head) == 'string' and head
end
return {role, identity, policy, str(beat), lost, failure, heads}
