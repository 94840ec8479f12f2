-- For locks that lie elsewhere: the pair's fence is kept here, beside what it guards.

-- Tells whether the script may go on. mine is the fence of the caller's lease.
-- returns  nothing when it may; or {'stale', highest fence}: a later holder has settled since
local function enter(_, pair, mine)
  local highest = redis.call('HGET', pair, 'fence')
  if highest and tonumber(highest) > tonumber(mine) then return {'stale', highest} end
end

-- Notes that the script goes on. The fence is kept far longer than a holder can be paused and still
-- have a caller.
local function pass(pair, mine)
  redis.call('HSET', pair, 'fence', mine)
  redis.call('PEXPIRE', pair, 3600000)
end
