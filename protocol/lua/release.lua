--[[
  release: gives a lane's lease back, where it is still the owner's. The cursor keeps the owner's name: whoever takes
  the lane next puts in its own.

  KEYS[1]  lease   ARGV[1]  owner
]]
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
