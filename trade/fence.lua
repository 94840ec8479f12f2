-- For locks that lie elsewhere: the pair's fence is kept here, beside what it guards.
-- May the script go on? mine is the fence of the caller's lease.
-- returns  nothing when it may; or {'stale', highest fence}: somebody went on under a later one
local function enter(_, pair, mine)
  local highest = redis.call('HGET', pair, 'fence')
  if highest and tonumber(highest) > tonumber(mine) then return {'stale', highest} end
end

-- The script goes on; the fence is kept far longer than a holder can be paused and still have a caller.
local function pass(pair, mine)
  redis.call('HSET', pair, 'fence', mine)
  redis.call('PEXPIRE', pair, 3600000)
end
