--[[
  adopt: holds the tenant's log against the Redis that holds it and against what this relay remembers. A head that is
  missing, rolled back, or written under another identity starts a new generation with one `resync` entry, once,
  whoever comes first.

  KEYS[1]  head   KEYS[2] log   KEYS[3] root
  KEYS[4]  never  never written
  ARGV[1]  seenGeneration  ARGV[2] seenSeq  ARGV[3] seenEpoch   this relay's memory, 0 for none
  ARGV[4]  channel     of the wake
  ARGV[5]  identity    '' to read the replication id here
  ARGV[6]  onIdentity  'resync' | 'report': whether another identity alone is a reason
  ARGV[7]  before, ARGV[8] between, ARGV[9] after   the entry's body, JSON, around the reason and the epoch of before
  ARGV[10] lost        a generation of which something is known to be lost, 0 for none

  An identity of '-' says nothing: then only what is remembered, and what is known to be lost, is a reason.

  Returns {reason, generation, epoch, seq, last}, where last is the epoch that the log ended with; the reason is 'same', 'adopted', 'reported', or why a resync was made:
  'missing', 'identity', 'rolledBack'.
]]
local head, log, root, never = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local seenGeneration, seenSeq, seenEpoch = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local channel, identity, onIdentity, lost = ARGV[4], ARGV[5], ARGV[6], ARGV[10]

-- Redis allows DEL when it is full, and lets a script that has written go on: so a resync can be recorded even then.
redis.call('DEL', never)
local function str(number) return string.format('%.0f', number) end

if identity == '' then
  identity = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '-', 1, 16)
end
local generation, last, seq, adopted = string.match(redis.call('GET', head) or '', '^(%d+) (%d+) (%d+) (%S+)$')
local reason
if not generation then
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  last, seq = newest[1] and tonumber(string.match(newest[1][1], '^(%d+)')) or 0, 0
  -- Also in a store where nothing ever was: that cannot be told from one that lost everything.
  reason = 'missing'
else
  last, seq = tonumber(last), tonumber(seq)
  local answer
  -- An epoch below one that was seen is a loss whatever the generation: epochs rise for whoever saw it (I1).
  if last < seenEpoch or (generation == seenGeneration and seq < seenSeq) then reason = 'rolledBack'
  elseif identity == '-' then answer = nil
  elseif adopted == '-' then answer = 'adopted'
  elseif adopted ~= identity then
    if onIdentity == 'report' then answer = 'reported' else reason = 'identity' end
  end
  -- Whoever knows of the loss makes a new generation of that one, and so it happens once.
  if not reason and generation == lost then reason = 'rolledBack' end
  if answer then
    redis.call('SET', head, generation .. ' ' .. str(last) .. ' ' .. str(seq) .. ' ' .. identity)
  end
  if not reason then return {answer or 'same', generation, str(last), str(seq), str(last)} end
end

local time = redis.call('TIME')
local epoch = math.max(last + 1, time[1] * 1000000 + time[2], seenEpoch + 1)
seq = seq + 2 -- A birth is a gap: the number between is never written.
local body = ARGV[7] .. reason .. ARGV[8] .. str(last) .. ARGV[9]
-- Changes nothing, and is refused where what follows the entry would be: it must not be left without its head.
local row = redis.call('GET', root)
if row then redis.call('SET', root, row) else redis.call('SET', root, '-', 'XX') end
redis.call('XADD', log, str(epoch) .. '-0', 'v', '1', 'g', str(epoch), 's', str(seq), 'd', body)
local hard = string.match(row or '', '^%d+ %d+ (%d+) ') or '0'
redis.call('SET', root, str(epoch) .. ' ' .. str(epoch) .. ' ' .. hard .. ' 0')
redis.call('SET', head, str(epoch) .. ' ' .. str(epoch) .. ' ' .. str(seq) .. ' ' .. identity)
redis.pcall('PUBLISH', channel, '{"v":1,"g":' .. str(epoch) .. ',"e":' .. str(epoch) .. ',"s":' .. str(seq) .. '}')
return {reason, str(epoch), str(epoch), str(seq), str(last)}
